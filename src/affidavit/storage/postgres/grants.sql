-- What each role may do with our tables and functions. Run after every migration as the owner of the tables, with the
-- schema first in search_path; each section where its role stands. Nothing is given to anybody else: see roles.py.
-- A new table needs its line under affidavit_server; no role but the owner has TRUNCATE, and none may write partitions
-- by their own names.

-- role: affidavit_server
GRANT SELECT ON affidavit_migrations TO affidavit_server;
GRANT SELECT, INSERT, DELETE,
      UPDATE (actor_id, actor, resources, context, changes, details, secret, remains)
      ON affidavit_events TO affidavit_server;
GRANT SELECT, INSERT, DELETE ON affidavit_pending, affidavit_permit TO affidavit_server;
GRANT SELECT ON SEQUENCE affidavit_pending_seq_seq TO affidavit_server;  -- fsck compares it with what waits
GRANT SELECT, INSERT, UPDATE ON affidavit_meta TO affidavit_server;
GRANT SELECT, INSERT ON affidavit_catalogs, affidavit_pruned TO affidavit_server;
GRANT SELECT, INSERT, UPDATE ON affidavit_organizations, affidavit_tokens, affidavit_sessions, affidavit_tasks,
      affidavit_holds TO affidavit_server;
GRANT SELECT, INSERT, UPDATE, DELETE ON affidavit_logins TO affidavit_server;
GRANT SELECT, INSERT, DELETE ON affidavit_policies TO affidavit_server;
GRANT SELECT, INSERT, UPDATE, DELETE ON affidavit_trees TO affidavit_server;
GRANT SELECT, INSERT, DELETE ON affidavit_leaves, affidavit_tiles, affidavit_checkpoints, affidavit_alarms
      TO affidavit_server;
GRANT SELECT, INSERT, UPDATE ON affidavit_position, affidavit_leases TO affidavit_server;
GRANT SELECT, INSERT ON affidavit_manifests TO affidavit_server;
GRANT SELECT ON affidavit_months, affidavit_partitioning, affidavit_events_default TO affidavit_server;
GRANT SELECT, INSERT, UPDATE, DELETE ON affidavit_unfreed, affidavit_freed TO affidavit_server;
GRANT EXECUTE ON FUNCTION affidavit_month_make(date, integer), affidavit_month_drop(text), affidavit_month_of(uuid),
      affidavit_month_start(date), affidavit_range_close(text, uuid, uuid, bytea) TO affidavit_server;
GRANT SELECT ON affidavit_closing TO affidavit_server;
GRANT SELECT, INSERT, UPDATE, DELETE ON affidavit_index, affidavit_terms, affidavit_hourly, affidavit_emails
      TO affidavit_server;
GRANT EXECUTE ON FUNCTION affidavit_terms_make(date), affidavit_terms_drop(date), affidavit_index_discard()
      TO affidavit_server;
DO $$
DECLARE
    part text;
BEGIN
    -- VACUUM frees what was erased. Before PostgreSQL 17 only the owner of a table may run it, or that of the database.
    IF current_setting('server_version_num')::integer >= 170000 THEN
        FOR part IN
            SELECT oid::regclass FROM pg_class
            WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind IN ('r', 'p')
              AND relname LIKE 'affidavit\_%' AND pg_get_userbyid(relowner) = current_user
        LOOP
            EXECUTE format('GRANT MAINTAIN ON %s TO affidavit_server', part);
        END LOOP;
    END IF;
END
$$;

-- role: affidavit_writer
GRANT EXECUTE ON FUNCTION affidavit_record_v1, affidavit_record_many_v1 TO affidavit_writer;

-- role: affidavit_reader
GRANT EXECUTE ON FUNCTION affidavit_first_id, affidavit_make_id, affidavit_json, affidavit_microseconds
      TO affidavit_reader;
DO $$
BEGIN
    -- Ours, and not a table of the application with the same name.
    IF obj_description(to_regclass(quote_ident(current_schema()) || '.audit_logs'), 'pg_class') LIKE 'Affidavit: %' THEN
        GRANT SELECT ON audit_logs TO affidavit_reader;
    END IF;
END
$$;
