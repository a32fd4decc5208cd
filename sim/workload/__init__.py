"""The offered load: arrival processes, trace readers, and the columns they end in."""
