"""What a run amounts to: metrics of a replication, and their summary over all of them."""
