"""Why a prediction came out as it did: Shapley values of the payload fields, off the answer's path."""
