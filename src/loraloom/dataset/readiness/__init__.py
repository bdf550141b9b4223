"""Is a folder of pictures ready to be trained on? Measures, findings, and a report of both."""
