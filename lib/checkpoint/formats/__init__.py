"""Weight files of other programs: what they hold, and what it is called here."""
