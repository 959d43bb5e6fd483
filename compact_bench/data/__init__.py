"""Questions, rationales of several teachers, and the splits that keep test questions out."""
