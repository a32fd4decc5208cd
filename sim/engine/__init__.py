"""The SimPy clock, the client and the run."""
