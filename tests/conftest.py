"""What every test may rely on."""

import signal

# A shell that runs the tests in its background has them ignore Ctrl-C, and their children after them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
