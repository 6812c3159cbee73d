"""The `rmaat` command: one module a subcommand, registered in `app`."""
