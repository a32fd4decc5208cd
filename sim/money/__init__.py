"""What a run costs: the bill, its waste, who pays for it, and the same at other prices."""
