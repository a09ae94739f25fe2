"""Programs that print the figures of README and docs. Each prints ratios of things that were timed in one run."""

from labeler_service.cpu import share_cpu

share_cpu()  # as the labeler does, so that both encode alike
