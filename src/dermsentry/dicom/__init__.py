"""DICOM photographs: which are read, their pixels, and the text of their headers."""
