"""Many scans on many machines: jobs, workers, one record a case, and the table and page of a run."""
