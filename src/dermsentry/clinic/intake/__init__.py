"""How photographs come in: what is done with each, DICOM, a watched folder."""
