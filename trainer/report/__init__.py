"""The report of a run: one offline HTML file, made from what the run's folder holds, also while the run goes on."""
