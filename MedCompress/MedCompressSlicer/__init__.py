"""The Slicer side of MedCompress: panel, logic, reader, writer and self-test. Knows nodes, and no codec."""
