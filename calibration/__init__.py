"""What we measured: a plan, a probe of the real models, samples, a fit and a profile to simulate with."""
