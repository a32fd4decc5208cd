"""Shipped scenarios: read them with ``sim.scenario.file.load_scenario(name)``."""
