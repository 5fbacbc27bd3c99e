-- The login of a server: a member of the role that "affidavit migrate" made, and nothing else. Run by the owner,
-- as often as one likes; the password is that of the variable SERVER_PASSWORD.
\getenv password SERVER_PASSWORD
SELECT 'CREATE ROLE audit LOGIN IN ROLE affidavit_server'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'audit')
\gexec
SELECT format('ALTER ROLE audit LOGIN PASSWORD %L', :'password')
\gexec
