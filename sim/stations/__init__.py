"""What serves a request: pay-as-you-go, provisioned throughput, instances."""
