"""Fitting and testing a classifier with Lightning."""
