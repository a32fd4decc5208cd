"""What must hold on any run, recounted from its rows by other means than the engine's."""
