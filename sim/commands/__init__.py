"""The command line of the simulator: commands, tables, progress."""
