"""Performance by cohort: how production's decisions of each week fared, or probably fare before labels come."""
