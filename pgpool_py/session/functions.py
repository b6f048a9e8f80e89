"""What is known about PostgreSQL's built-in functions, and those of well-known extensions.

Judged by hand from pg_proc of PostgreSQL 15 and 18 (12 to 14 and 16, 17 add no name that matters). A built-in
function that is not named here is not plain, so a function that a later version adds costs a reset until
somebody reads what it does. Not listed, because the catalogs tell them apart: the functions behind built-in
operators, types, operator classes and aggregates, and those that SQL cannot call (see `catalog`).

Left out on purpose:
- what runs text or reaches objects by a name inside a string: RUNNING, and cursor_to_xml with its family;
- what reaches a relation or a type by a value, hence a domain's checks: BY_VALUE; and satisfies_hash_partition,
  which calls operator classes' functions;
- what leaves something behind in the session or the server process: see KINDS.
"""

from __future__ import annotations

import re

from pgpool_py.session.flags import (
    CLEANUP,
    FUNCTION,
    GIVEN,
    LIBRARY,
    OPAQUE,
    PIN,
    READS_CHANNELS,
    READS_SEQUENCE,
    READS_SETTINGS,
    READS_STATEMENTS,
    RELEASES,
    SEED,
    SETTINGS,
    TRANSACTION_LOCAL,
    UNREAD,
    WRITES_SEQUENCE,
)

# Immutable and stable ones: they compute, or read.
_PURE = """
    abbrev abs acldefault aclexplode acos acosd acosh age any_value area array_agg array_dims array_fill
    array_length array_lower array_ndims array_position array_positions array_remove array_replace
    array_reverse array_sort array_to_json array_to_string array_to_tsvector array_upper ascii asin asind
    asinh atan atan2 atan2d atand atanh avg bit bit_and bit_count bit_length bit_or bit_xor bool bool_and
    bool_or box bpchar broadcast btrim bytea cardinality casefold cash_words cbrt ceil ceiling center char
    char_length character_length chr cidr circle col_description concat concat_ws convert convert_from
    convert_to corr cos cosd cosh cot cotd count covar_pop covar_samp crc32 crc32c cume_dist
    current_database current_schema current_schemas current_setting current_user date date_add date_bin
    date_part date_subtract date_trunc datemultirange daterange daterange_canonical daterange_subdiff
    decode degrees dense_rank dexp diagonal diameter div dlog1 dlog10 dround dtrunc encode enum_first
    enum_last enum_range erf erfc every exp extract factorial family first_value float4 float8 floor
    format format_type gamma gcd generate_series generate_subscripts get_bit get_byte
    get_current_ts_config getdatabaseencoding getpgusername has_any_column_privilege has_column_privilege
    has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege
    has_language_privilege has_largeobject_privilege has_parameter_privilege has_schema_privilege
    has_sequence_privilege has_server_privilege has_table_privilege has_tablespace_privilege
    has_type_privilege height host hostmask icu_unicode_version inet_client_addr inet_client_port
    inet_server_addr inet_server_port initcap int2 int4 int4inc int4multirange int4range
    int4range_canonical int4range_subdiff int8 int8_sum int8multirange int8range int8range_canonical
    int8range_subdiff interval is_normalized isclosed isempty isfinite ishorizontal isopen isparallel
    isperp isvertical json_agg json_agg_strict json_array_elements json_array_elements_text
    json_array_length json_build_array json_build_object json_each json_each_text json_object
    json_object_agg json_object_agg_strict json_object_agg_unique json_object_agg_unique_strict
    json_object_keys json_populate_record json_populate_recordset json_strip_nulls json_to_record
    json_to_recordset json_to_tsvector json_typeof jsonb_agg jsonb_agg_strict jsonb_array_elements
    jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each
    jsonb_each_text jsonb_insert jsonb_object jsonb_object_agg jsonb_object_agg_strict
    jsonb_object_agg_unique jsonb_object_agg_unique_strict jsonb_object_keys jsonb_path_exists
    jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query jsonb_path_query_array
    jsonb_path_query_array_tz jsonb_path_query_first jsonb_path_query_first_tz jsonb_path_query_tz
    jsonb_populate_record jsonb_populate_record_valid jsonb_populate_recordset jsonb_pretty jsonb_set
    jsonb_set_lax jsonb_strip_nulls jsonb_to_record jsonb_to_recordset jsonb_to_tsvector jsonb_typeof
    justify_days justify_hours justify_interval lag last_value lcm lead left length lgamma like
    like_escape line ln log log10 lower lower_inc lower_inf lpad lseg ltrim macaddr macaddr8
    macaddr8_set7bit make_date make_interval make_time make_timestamp make_timestamptz makeaclitem masklen
    max md5 min min_scale mod mode money multirange mxid_age name nameconcatoid netmask network normalize
    notlike now npoints nth_value ntile num_nonnulls num_nulls numeric numeric_div_trunc numeric_exp
    numeric_inc numeric_ln numeric_log numeric_sqrt nummultirange numnode numrange numrange_subdiff
    obj_description octet_length oid oidvectortypes overlaps overlay parse_ident path pclose percent_rank
    percentile_cont percentile_disc pg_available_extension_versions pg_available_extensions pg_backend_pid
    pg_basetype pg_char_to_encoding pg_client_encoding pg_collation_for pg_collation_is_visible
    pg_column_compression pg_column_is_updatable pg_column_size pg_column_toast_chunk_id pg_conf_load_time
    pg_config pg_conversion_is_visible pg_current_snapshot pg_current_xact_id
    pg_current_xact_id_if_assigned pg_cursor pg_describe_object pg_encoding_max_length pg_encoding_to_char
    pg_event_trigger_ddl_commands pg_event_trigger_dropped_objects pg_event_trigger_table_rewrite_oid
    pg_event_trigger_table_rewrite_reason pg_extension_update_paths pg_filenode_relation
    pg_function_is_visible pg_get_acl pg_get_catalog_foreign_keys pg_get_constraintdef pg_get_expr
    pg_get_function_arg_default pg_get_function_arguments pg_get_function_identity_arguments
    pg_get_function_result pg_get_function_sqlbody pg_get_functiondef pg_get_indexdef pg_get_keywords
    pg_get_object_address pg_get_partition_constraintdef pg_get_partkeydef pg_get_publication_tables
    pg_get_replica_identity_index pg_get_replication_slots pg_get_ruledef pg_get_serial_sequence
    pg_get_statisticsobjdef pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions
    pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role pg_identify_object
    pg_identify_object_as_address pg_index_column_has_property pg_index_has_property
    pg_indexam_has_property pg_indexam_progress_phasename pg_is_other_temp_schema pg_lsn pg_mcv_list_items
    pg_my_temp_schema pg_numa_available pg_opclass_is_visible pg_operator_is_visible
    pg_opfamily_is_visible pg_options_to_table pg_partition_root pg_postmaster_start_time
    pg_relation_filenode pg_relation_filepath pg_relation_is_publishable pg_relation_is_updatable
    pg_replication_origin_oid pg_sequence_parameters pg_settings_get_flags pg_size_bytes pg_size_pretty
    pg_snapshot_xip pg_snapshot_xmax pg_snapshot_xmin pg_split_walfile_name pg_statistics_obj_is_visible
    pg_table_is_visible pg_tablespace_databases pg_tablespace_location pg_timezone_abbrevs
    pg_timezone_abbrevs_abbrevs pg_timezone_abbrevs_zone pg_timezone_names pg_trigger_depth
    pg_ts_config_is_visible pg_ts_dict_is_visible pg_ts_parser_is_visible pg_ts_template_is_visible
    pg_type_is_visible pg_typeof pg_visible_in_snapshot pg_wal_lsn_diff pg_walfile_name
    pg_walfile_name_offset phraseto_tsquery pi plainto_tsquery point polygon popen position pow power
    querytree quote_ident quote_literal quote_nullable radians radius range_agg range_intersect_agg
    range_merge rank regclass regexp_count regexp_instr regexp_like regexp_match regexp_matches
    regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr regr_avgx regr_avgy
    regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy repeat replace reverse right
    round row_number row_security_active row_to_json rpad rtrim scale session_user set_bit set_byte
    set_masklen setweight sha224 sha256 sha384 sha512 shobj_description sign similar_escape
    similar_to_escape sin sind sinh slope split_part sqrt statement_timestamp stddev stddev_pop
    stddev_samp string_agg string_to_array string_to_table strip strpos substr substring sum system_user
    tan tand tanh text textlen time timestamp timestamptz timetz timezone to_ascii to_bin to_char to_date
    to_hex to_json to_jsonb to_number to_oct to_regclass to_regcollation to_regnamespace to_regoper
    to_regoperator to_regproc to_regprocedure to_regrole to_regtype to_regtypemod to_timestamp to_tsquery
    to_tsvector transaction_timestamp translate trim_array trim_scale trunc ts_debug ts_delete ts_filter
    ts_headline ts_lexize ts_parse ts_rank ts_rank_cd ts_token_type tsmultirange tsquery_phrase tsrange
    tsrange_subdiff tstzmultirange tstzrange tstzrange_subdiff tsvector_to_array txid_current
    txid_current_if_assigned txid_current_snapshot txid_snapshot_xip txid_snapshot_xmax txid_snapshot_xmin
    txid_visible_in_snapshot unicode_assigned unicode_version unistr unnest upper upper_inc upper_inf
    uuid_extract_timestamp uuid_extract_version var_pop var_samp varbit varchar variance version
    websearch_to_tsquery width width_bucket xid xml xml_is_well_formed xml_is_well_formed_content
    xml_is_well_formed_document xmlagg xmlcomment xmlexists xmltext xmlvalidate xpath xpath_exists
"""

# Volatile ones that leave nothing in the session. Large object descriptors and exported snapshots end with
# the transaction; random() reads the seed, it does not show it.
_VOLATILE = """
    array_sample array_shuffle bernoulli clock_timestamp current_query gen_random_uuid lo_close lo_creat
    lo_create lo_export lo_from_bytea lo_get lo_import lo_lseek lo_lseek64 lo_open lo_put lo_tell
    lo_tell64 lo_truncate lo_truncate64 lo_unlink loread lowrite pg_blocking_pids pg_cancel_backend
    pg_collation_actual_version pg_control_checkpoint pg_control_init pg_control_recovery
    pg_control_system pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
    pg_database_collation_actual_version pg_database_size pg_export_snapshot pg_indexes_size
    pg_is_in_recovery pg_is_wal_replay_paused pg_jit_available pg_last_committed_xact
    pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status
    pg_logical_emit_message pg_notification_queue_usage pg_notify pg_partition_ancestors pg_partition_tree
    pg_prepared_xact pg_relation_size pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_sleep
    pg_sleep_for pg_sleep_until pg_table_size pg_tablespace_size pg_terminate_backend
    pg_total_relation_size pg_xact_commit_timestamp pg_xact_status random random_normal
    suppress_redundant_updates_trigger system timeofday tsvector_update_trigger
    tsvector_update_trigger_column txid_status unique_key_recheck uuidv4 uuidv7
"""

PLAIN: frozenset[bytes] = frozenset((_PURE + _VOLATILE).encode().split())


def _each(names: str, bits: int) -> dict[bytes, int]:
    return {name: bits for name in names.encode().split()}


# Names, of functions and of relations, whose effect is known to be more than nothing.
KINDS: dict[bytes, int] = {
    **_each("set_config", SETTINGS | FUNCTION),
    **_each("pg_settings pg_show_all_settings", READS_SETTINGS),
    **_each("setseed", SEED | FUNCTION),
    **_each("currval lastval", READS_SEQUENCE),
    **_each("nextval setval", WRITES_SEQUENCE),
    **_each("pg_prepared_statements pg_prepared_statement", READS_STATEMENTS),
    **_each("pg_listening_channels", READS_CHANNELS),
    **_each("pg_temp", PIN),
    **_each(
        "pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared",
        PIN | FUNCTION,
    ),
    **_each("pg_advisory_unlock pg_advisory_unlock_shared", RELEASES),
    **_each("pg_advisory_unlock_all", RELEASES | CLEANUP),
    **_each(
        "pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_xact_lock"
        " pg_try_advisory_xact_lock_shared",
        TRANSACTION_LOCAL,
    ),
    # Bound to the session, and DISCARD ALL does not end them.
    **_each(
        "pg_backup_start pg_backup_stop pg_start_backup pg_stop_backup"
        " pg_create_physical_replication_slot pg_create_logical_replication_slot"
        " pg_copy_physical_replication_slot pg_copy_logical_replication_slot"
        " pg_replication_origin_session_setup pg_replication_origin_session_reset"
        " dblink_connect dblink_connect_u dblink_disconnect",
        LIBRARY | OPAQUE | FUNCTION,
    ),
}

# Built-in functions, and those of extensions, that run the text they are given; and those that read whatever there is.
RUNNING: dict[bytes, int] = {
    **_each(
        "query_to_xml query_to_xmlschema query_to_xml_and_xmlschema"
        " ts_stat ts_rewrite crosstab crosstab2 crosstab3 crosstab4 connectby xpath_table",
        GIVEN,
    ),
    **_each(
        "schema_to_xml schema_to_xmlschema schema_to_xml_and_xmlschema"
        " database_to_xml database_to_xmlschema database_to_xml_and_xmlschema",
        UNREAD,
    ),
}
# Built-in functions that run what belongs to a relation, an index or a type: which, a value says by its name or its number.
BY_VALUE: frozenset[bytes] = frozenset(
    b"""
    table_to_xml table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema
    schema_to_xml_and_xmlschema database_to_xml database_to_xmlschema database_to_xml_and_xmlschema
    brin_summarize_new_values brin_summarize_range pg_restore_attribute_stats pg_restore_extended_stats
    pg_input_is_valid pg_input_error_info domain_in domain_recv array_in array_recv record_in record_recv
    range_in range_recv multirange_in multirange_recv
    """.split()
)
RUNNING_EXTENSIONS = frozenset(["tablefunc", "xml2"])
# What code in another language has that runs commands, or could: SPI by its names in PL/Perl, PL/Python, PL/Tcl, PL/v8.
RUNS_SQL = re.compile(rb"spi|plpy|plv8|execute|prepare|eval|exec|import|require|getattr|globals|subst|uplevel", re.IGNORECASE)

# Extensions whose C functions compute and nothing else, as far as they are immutable or stable.
# Not here: tablefunc and xml2 (they run text), refint and postgres_fdw (they run SQL), dblink, plperl and
# the like.
EXTENSIONS: frozenset[str] = frozenset(
    [
        "bloom",
        "btree_gin",
        "btree_gist",
        "citext",
        "cube",
        "dict_int",
        "dict_xsyn",
        "earthdistance",
        "fuzzystrmatch",
        "hstore",
        "intagg",
        "intarray",
        "isn",
        "ltree",
        "pg_trgm",
        "pgcrypto",
        "postgis",
        "seg",
        "unaccent",
        "uuid-ossp",
        "vector",
        "tsm_system_rows",
        "tsm_system_time",
    ]
)

# Volatile functions of extensions that leave nothing behind.
EXTENSION_PLAIN: frozenset[bytes] = frozenset(
    b"""
    uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 gen_random_uuid gen_random_bytes gen_salt encrypt
    decrypt pgp_sym_encrypt pgp_sym_encrypt_bytea pgp_pub_encrypt pgp_pub_encrypt_bytea moddatetime
    insert_username lo_manage triggered_change_notification pg_stat_statements pg_stat_statements_info
    """.split()
)

# Functions of the extensions above that change the session.
EXTENSION_DENIED: frozenset[bytes] = frozenset([b"set_limit", b"isn_weak"])

# By oid, for FunctionCall: libpq's large object calls. Built-in oids do not change between versions.
PLAIN_CALLS: frozenset[int] = frozenset(
    [715, 764, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172]
)
