"""The REST API: photographs in; cases, pictures, decisions, outcomes, exports and the audit trail out."""
