"""The worklist in a browser and for programs: pages, and a REST API."""
