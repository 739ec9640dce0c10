"""Shapley values of payload fields against a background: exact for trees and linear models, sampled for the rest."""
