"""Shipped scenarios: read them with ``sim.scenario_file.load_scenario(name)``."""
