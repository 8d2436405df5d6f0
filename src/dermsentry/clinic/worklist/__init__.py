"""What people do with cases, and how well it went: worklist, reads, outcomes, performance."""
