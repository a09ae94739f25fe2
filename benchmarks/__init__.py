"""Programs that print the figures that README claims. Each prints ratios of things that were timed in one run."""
