"""What an alert is worth in a clinic: operating point, prevalence, decision curve."""
