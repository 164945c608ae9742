"""Post-processing: maps filtered, sieved, reclassified, and outlined as polygons."""
