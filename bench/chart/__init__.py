"""Writes the files of the Helm chart that follow from the code (``make chart-files``)."""
