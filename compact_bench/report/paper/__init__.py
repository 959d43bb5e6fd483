"""What a paper takes from the records: tables, figures, numbers to quote, references."""
