"""How good the answers are: abilities, own evaluations, verdicts, expected quality."""
