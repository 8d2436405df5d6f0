"""How cases leave: FHIR, DICOM structured report, CSV."""
