"""What would happen: scenario, workload, engine, stations, records, metrics, costs."""
