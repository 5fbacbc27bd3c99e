"""What tests of Affidavit and of its storage engines are made of. Public; nothing here runs in production."""
