//! Every bound of the engine: its value, its unit and its reason. Nothing else may invent one.

/// Bytes of playbook text: far above any real playbook, small enough to parse in milliseconds.
pub const PLAYBOOK_BYTES_MAX: usize = 1 << 20;
/// Nesting of the YAML document; deeper input is an attack or a mistake.
pub const YAML_DEPTH_MAX: usize = 64;
/// Alias uses (`*name`) in one document; each may stand for a whole subtree.
pub const YAML_ALIASES_MAX: usize = 1_000;
/// Nodes of one document after aliases are resolved: stops the "billion laughs".
pub const YAML_NODES_MAX: usize = 200_000;
/// Bytes of all scalars of one document after aliases are resolved: stops a long text repeated.
pub const YAML_TEXT_BYTES_MAX: usize = 4 << 20;
/// Bytes of a name or a path: both are part of every key and every event.
pub const NAME_BYTES_MAX: usize = 128;
/// Diagnostics reported for one file; more do not help a reader.
pub const DIAGNOSTICS_MAX: usize = 100;

/// Instructions that one template evaluation may spend: about 50 times the largest real template.
pub const TEMPLATE_FUEL: u64 = 200_000;
/// Bytes that one template may print or build: fuel counts instructions, not what they make.
pub const TEMPLATE_OUTPUT_BYTES_MAX: usize = 8 << 20;
/// Bytes of one template's text.
pub const TEMPLATE_SOURCE_BYTES_MAX: usize = 64 << 10;
/// Values that one evaluation may look at inside filters and comparisons: fuel counts a sort of a
/// million items as one instruction. About a tenth of a second.
pub const TEMPLATE_WORK_MAX: u64 = 10_000_000;
/// Levels of a value inside a template: deeper ones would overflow the stack when they are dropped.
pub const TEMPLATE_VALUE_DEPTH_MAX: usize = 128;
/// Levels of brackets, conditions and blocks in one template's text; people write up to five.
pub const TEMPLATE_NESTING_MAX: usize = 30;
/// Operators in a row inside one expression: each is a level of the syntax tree.
pub const TEMPLATE_CHAIN_MAX: usize = 200;
/// Bytes of a template's text after its operators are replaced by guarded ones.
pub const TEMPLATE_GUARDED_BYTES_MAX: usize = 1 << 20;
/// Levels of loops and macros while a template runs; a macro call counts as four.
pub const TEMPLATE_RECURSION_MAX: usize = 100;
/// Items of one `range()`: a loop of a million, and no more.
pub const TEMPLATE_RANGE_MAX: usize = 1_000_000;
/// Compiled templates kept in memory; a playbook has a few hundred.
pub const TEMPLATE_CACHE_ENTRIES_MAX: usize = 2_048;
/// Bytes of text of the compiled templates kept in memory.
pub const TEMPLATE_CACHE_BYTES_MAX: usize = 4 << 20;

/// Bytes of a value kept inside an entry; larger ones go to the payload store.
///
/// A `DynamoDB` item holds 400 KB and an SQS message 1 MiB; ten results of one batch fit.
pub const INLINE_BYTES_MAX: usize = 32 << 10;
/// Bytes of the larger values kept inside one entry, all together: a batch folds many answers, and a
/// `DynamoDB` item holds 400 KB.
pub const ENTRY_INLINE_BYTES_MAX: usize = 256 << 10;
/// Bytes of a result kept in the state itself, so that routing needs no read. Times the number of steps.
pub const STATE_VALUE_BYTES_MAX: usize = 512;
/// Bytes of a loop's state at any moment, whatever its number of items (seed 002; `K/V` stores cap values).
pub const LOOP_STATE_BYTES_MAX: usize = 4 << 10;

/// Items of one loop: sixty-four bits would hold more, a person's budget would not.
pub const LOOP_ITEMS_MAX: usize = 10_000_000;
/// Iterations of one loop that may be out at once; their pending set is the loop's only growing state.
pub const LOOP_IN_FLIGHT_MAX: u64 = 64;
/// The window of a parallel loop that names none, as `NoETL` had it in its first version.
pub const LOOP_IN_FLIGHT_DEFAULT: u64 = 8;
/// Iterations that one command may carry.
pub const FRAME_ITEMS_MAX: u32 = 100;
/// Milliseconds that a frame should take: long enough to pay for its commit, short enough to watch.
pub const FRAME_TARGET_MS: u64 = 50;
/// Bytes of one chunk of a stored collection.
pub const CHUNK_BYTES: usize = 64 << 10;
/// Items of one chunk of a stored collection.
pub const CHUNK_ITEMS_MAX: usize = 4_096;
/// Bytes of a loop's items, and of its `retry`, that the log shows when it begins; longer ones it only names.
pub const LOOP_SHOWN_BYTES: usize = 4 << 10;
/// Errors that a loop keeps word for word; the log has the others.
pub const LOOP_ERRORS_KEPT: usize = 3;
/// Bytes of each of those.
pub const LOOP_ERROR_BYTES: usize = 160;

/// Tries of one command, whatever a rule asks for.
pub const ATTEMPTS_MAX: u32 = 100;
/// Milliseconds of the longest retry delay: 15 minutes, what SQS can hold a message back.
pub const RETRY_DELAY_MS_MAX: u64 = 900_000;
/// Inputs that one aggregate folds before it is stopped as a runaway (it replaces Lambda's recursion guard).
pub const TRANSITIONS_MAX: u64 = 10_000_000;
/// Entries into steps of one execution: a cycle without an end stops here.
pub const STEP_ENTRIES_MAX: u64 = 100_000;
/// Step runs of one execution that may be open at once: all of them are in its state.
pub const OPEN_RUNS_MAX: usize = 1_000;
/// Values that one decision may ask to have loaded before it gives up.
pub const LOADS_MAX: usize = 64;
/// Values that a driver keeps per aggregate between decisions; they are immutable, memory is not free.
pub const LOADED_VALUES_MAX: usize = 32;
/// Aggregates whose values a driver keeps.
pub const CACHED_AGGREGATES_MAX: usize = 64;
/// Milliseconds a tool may run when its step says nothing (Lambda stops at 900 s).
pub const TOOL_TIMEOUT_MS_DEFAULT: u64 = 300_000;
/// Milliseconds a tool may run at most: a function's own limit, less a margin to answer.
pub const TOOL_TIMEOUT_MS_MAX: u64 = 890_000;
/// Seconds after which a command that could not be answered is tried again, the first times; later ones wait
/// for their visibility timeout, so that ten tries outlast an outage of an hour.
pub const COMMAND_RETRIES_S: [u32; 3] = [5, 30, 120];
/// Seconds after which a command that can never be understood is tried again, until it is a dead letter.
pub const COMMAND_POISON_S: u32 = 1;
/// Milliseconds by which a command may run early: queues count delays in seconds.
pub const NOT_BEFORE_SLACK_MS: i64 = 1_000;
/// Milliseconds that a command may wait in its queue before it counts as lost.
pub const QUEUE_ALLOWANCE_MS: u64 = 300_000;

/// Commits that may be lost to another writer before the input goes back to its queue.
pub const COMMIT_ATTEMPTS_MAX: usize = 10;
/// Inputs folded into one entry.
pub const BATCH_INPUTS_MAX: usize = 64;
/// Entries looked through for a redelivered input.
pub const REDRIVE_ENTRIES: usize = 16;
/// Receives of one message before it is put aside as dead.
pub const RECEIVES_MAX: u32 = 10;

/// Bytes of captured output kept per tool call.
pub const OUTPUT_BYTES_MAX: usize = 16 << 10;
/// Bytes of one tool result; larger ones fail the call with advice.
pub const RESULT_BYTES_MAX: usize = 64 << 20;
/// Bytes of an error message that is kept.
pub const ERROR_BYTES_MAX: usize = 4 << 10;

/// Milliseconds that a handler has for a batch of events before they are delivered again.
pub const EVENT_VISIBILITY_MS: i64 = 60_000;
/// Milliseconds that a worker has for a command before it is delivered again: the longest tool, and
/// a margin.
pub const COMMAND_VISIBILITY_MS: i64 = 900_000;
/// Commits that the embedded store makes durable with one write to the disk; more only delay the
/// first.
pub const COMMITS_PER_SYNC_MAX: usize = 256;
/// Connections that read the embedded store at once.
pub const READERS_MAX: usize = 4;
/// Tails that the embedded store keeps in memory: the aggregates that are busy at one time.
pub const TAILS_KEPT: usize = 256;
/// Parsed playbooks kept in memory.
pub const PLAYBOOKS_KEPT: usize = 256;
/// Bytes of a credential file: a service account with its key has about 3 KB.
pub const CREDENTIAL_BYTES_MAX: usize = 1 << 20;
/// Credentials that one process is told over HTTP; all of them are in its memory.
pub const CREDENTIALS_MAX: usize = 1_000;
/// Bytes of the body of one request to the HTTP API: the largest playbook as base64 in JSON, or a payload.
pub const API_BODY_BYTES_MAX: usize = 4 << 20;
/// Requests to the HTTP API that are worked on at once; more are asked to come again.
pub const API_REQUESTS_MAX: usize = 256;
/// Milliseconds in which a request must arrive and be decided; what is answered may take longer to send.
pub const API_REQUEST_MS: u64 = 30_000;
/// Executions or events in one answer of the HTTP API.
pub const API_PAGE_MAX: usize = 1_000;
/// Executions or events in one answer of the HTTP API when nothing names a number, as `NoETL` has it.
pub const API_PAGE_DEFAULT: usize = 100;
/// Entries of an execution above which its events are not numbered unless somebody asks for a page.
pub const API_NUMBERED_ENTRIES_MAX: u64 = 1_000;
/// Bytes of an answer of the HTTP API that is kept in memory; a longer one waits in a file.
pub const API_SPOOL_BYTES: usize = 1 << 20;
/// Newest entries that are looked through for a callback token that nobody waits for any more.
pub const CALLBACK_ENTRIES: u64 = 1_024;
/// Milliseconds that running calls may take to finish when the server is told to stop.
pub const SERVE_GRACE_MS: u64 = 10_000;
/// Bytes of text and inline results in one answer: with its frame of outcomes it must fit one entry.
pub const ANSWER_BYTES_MAX: usize = 256 << 10;
/// Milliseconds after its deadline at which a tool that did not stop by itself is dropped.
pub const TOOL_GRACE_MS: u64 = 1_000;
/// Scopes of loops that a worker keeps decoded: loops that run at the same time on one worker.
pub const SCOPES_CACHED: usize = 8;
/// Chunks of collections (and lists of them) that a worker keeps decoded: about a megabyte.
pub const CHUNKS_CACHED: usize = 16;

/// Bytes of one HTTP response, after decompression: half of what a result may have.
pub const HTTP_BODY_BYTES_MAX: usize = 32 << 20;
/// Redirects that one HTTP call follows, as browsers and `curl` bound them in the tens.
pub const HTTP_REDIRECTS_MAX: usize = 10;
/// Milliseconds of one HTTP call when the tool says nothing (`NoETL`'s default).
pub const HTTP_TIMEOUT_MS_DEFAULT: u64 = 30_000;
/// Milliseconds to connect when the tool says nothing: a live host answers far sooner.
pub const HTTP_CONNECT_MS_DEFAULT: u64 = 10_000;

/// Bytes of one script that is read from a file or a server: far above any script that people write.
pub const SCRIPT_BYTES_MAX: usize = 1 << 20;
/// Bytes of address space of one Python interpreter: a runaway allocation fails in it, not in the worker.
pub const PYTHON_MEMORY_BYTES: u64 = 2 << 30;
/// Bytes of one file that Python code may write.
pub const PYTHON_FILE_BYTES: u64 = 1 << 30;
/// Files that one Python interpreter may hold open.
pub const PYTHON_OPEN_FILES: u64 = 1_024;
/// Processes that Python code may have at once: room for a pool per core, the end of a fork bomb.
pub const PYTHON_PROCESSES_MAX: usize = 256;

/// Parts of a collected list before they are folded into a stored one: what a state holds of a list is
/// at most this for each power of it.
pub const LIST_PARTS_MAX: usize = 16;
/// Calls of one unit (pages, tasks, sinks): a `jump` without a way out stops here.
pub const UNIT_CALLS_MAX: u32 = 100_000;
/// Pages of one tool when nothing names a number (`NoETL`'s `NOETL_PAGINATION_MAX_PAGES`).
pub const PAGES_DEFAULT: u32 = 100;
/// Pages of one tool, whatever a rule asks for.
pub const PAGES_MAX: u32 = 10_000;
/// Iterations of several calls that may be out at once: each has a longer line in the loop's state.
pub const LOOP_UNITS_IN_FLIGHT_MAX: u64 = 32;
/// Executions above each other: a playbook that calls itself without an end stops here.
pub const PLAYBOOK_DEPTH_MAX: u32 = 16;
/// Bytes of the inputs of a child execution, as JSON: they are in an entry of its parent and in a message.
pub const CHILD_PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Milliseconds that a sub-playbook may take when nothing is said: a day, as nobody pays for waiting.
pub const CHILD_TIMEOUT_MS_DEFAULT: u64 = 86_400_000;
/// Milliseconds that a step may wait for a time or a callback: a year.
pub const WAIT_MS_MAX: u64 = 31_536_000_000;
/// Milliseconds that a step waits for a callback when nothing is said: a day.
pub const CALLBACK_MS_DEFAULT: u64 = 86_400_000;
/// Bytes of what a callback brings.
pub const CALLBACK_BYTES_MAX: usize = 256 << 10;
/// Milliseconds that a call runs before it says so, and between two reports: people watch no faster.
pub const PROGRESS_EVERY_MS: u64 = 1_000;
/// Part of the time so far that a longer call waits between two reports: each costs a commit.
pub const PROGRESS_EVERY_PART: u32 = 10;
/// Reports of one call.
pub const PROGRESS_REPORTS_MAX: u32 = 100;
/// Bytes of a report as JSON: a batch of them has to fit into an entry beside its results.
pub const PROGRESS_BYTES_MAX: usize = 1 << 10;

/// Statements of one SQL call: loops in a template write some hundreds, lists belong into `params`.
pub const SQL_STATEMENTS_MAX: usize = 10_000;
/// Rows of one statement of a sink when nothing is said (`NoETL`'s default of a chunk).
pub const SAVE_BATCH_ROWS_DEFAULT: usize = 1_000;
/// Rows of one statement of a sink, whatever is said: its text or parameter stays a few megabytes.
pub const SAVE_BATCH_ROWS_MAX: usize = 10_000;
/// Columns of one row: what `PostgreSQL` allows in a table.
pub const SAVE_COLUMNS_MAX: usize = 1_600;
/// Milliseconds to connect to `PostgreSQL`: a live server answers far sooner.
pub const POSTGRES_CONNECT_MS: u64 = 10_000;
/// Milliseconds without any sign of life after which a connection to `PostgreSQL` counts as lost.
pub const POSTGRES_SILENCE_MS: u64 = 30_000;
/// Connections to one database as one user: a loop's calls wait for each other, not the server's limit.
pub const POSTGRES_CLIENTS_MAX: usize = 16;
/// Databases that a worker keeps connections to; the one that has rested longest gives way.
pub const POSTGRES_POOLS_MAX: usize = 32;
/// Bytes of the rows of one call, as JSON: half of a result, as the last rows stand in it twice.
pub const SQL_ROWS_BYTES_MAX: usize = RESULT_BYTES_MAX / 2;

/// Bytes of one frame between the worker and `duckdb-engine`: a result or a batch, and its envelope.
pub const DUCKDB_FRAME_BYTES_MAX: usize = RESULT_BYTES_MAX + (4 << 20);
/// Bytes of the rows that `duckdb-engine` gives out at once when somebody reads a few at a time.
pub const DUCKDB_CHUNK_BYTES: usize = 4 << 20;
/// Calls that use one `duckdb-engine` at once: each has a thread and a connection there.
pub const DUCKDB_SESSIONS_MAX: usize = 32;
/// Databases that one `duckdb-engine` keeps open: each has memory and a file of its own.
pub const DUCKDB_DATABASES_MAX: usize = 8;
/// Milliseconds after its last use at which a database is closed, and its file free for others.
pub const DUCKDB_IDLE_MS: u64 = 10_000;
/// Bytes of memory of one `DuckDB` database; above it spills to temporary files.
pub const DUCKDB_MEMORY_BYTES: u64 = 1 << 30;
/// Bytes of memory of one through which rows only pass, for one statement; what is left behind is let go.
///
/// Both sides of a transfer and the chunks fit into the 2 GiB of the function, and the open blocks of a
/// table of 500 columns (256 KiB each, some for each column) into this.
pub const DUCKDB_ROWS_MEMORY_BYTES: u64 = 512 << 20;
/// Bytes that it keeps in memory between two statements: some blocks of 256 KiB, as `DuckDB` has them.
pub const DUCKDB_ROWS_KEPT_BYTES: u64 = 4 << 20;
/// Bytes of rows that pass before the rest is let go: what is in memory grows by about as much.
pub const DUCKDB_ROWS_PASSED_BYTES: usize = 1 << 20;
/// Bytes of its log for each column of its widest table, after which they are carried into the tables:
/// two blocks of 256 KiB, as less leaves blocks half empty (50 columns at 4 MiB took twice the file).
pub const DUCKDB_ROWS_LOG_COLUMN_BYTES: u64 = 512 << 10;
/// Bytes of such a log at least: checkpoints have a price of their own.
pub const DUCKDB_ROWS_LOG_BYTES_MIN: u64 = 4 << 20;
/// Bytes of such a log at most: `DuckDB` holds them unpacked, and reads them all at once at a checkpoint.
pub const DUCKDB_ROWS_LOG_BYTES_MAX: u64 = 32 << 20;
/// Its threads: rows pass one after the other, and a second one would work on while memory is let go.
pub const DUCKDB_ROWS_THREADS: usize = 1;
/// Bytes of temporary files of one `DuckDB` database.
pub const DUCKDB_TEMP_BYTES: u64 = 8 << 30;
/// Threads of one `DuckDB` database.
pub const DUCKDB_THREADS_MAX: usize = 4;
/// Milliseconds for which a database file that another process holds is tried again.
pub const DUCKDB_LOCK_MS: u64 = 5_000;
/// Milliseconds that `duckdb-engine` has to come up: it maps a library of 70 MB.
pub const DUCKDB_START_MS: u64 = 30_000;

/// Databases that one `SQLite` call may attach beside its own: its own limit.
pub const SQLITE_ATTACHED_MAX: usize = 10;
/// Chunks of rows that a reader of `SQLite` may be ahead of whoever takes them.
pub const SQLITE_CHUNKS_AHEAD: usize = 2;

/// Tries of one request to AWS while it throttles or fails: with the waits between, about a second.
pub const AWS_ATTEMPTS_MAX: u32 = 4;
/// Milliseconds before the second try; doubled before each further one.
pub const AWS_BACKOFF_MS: u64 = 100;
/// Bytes of one answer of AWS: ten messages of SQS have 1 MiB each, and twice that as JSON; a Lambda function
/// returns 6 MB, a secret has 64 KB.
pub const AWS_RESPONSE_BYTES_MAX: usize = 24 << 20;
/// Milliseconds to read one secret when no call gives a deadline.
pub const AWS_SECRET_MS: u64 = 10_000;

/// Milliseconds to connect to AWS: a live endpoint answers far sooner.
pub const AWS_CONNECT_MS: u64 = 3_000;
/// Milliseconds of one try of a request to `DynamoDB` or SQS: both answer within tens of them.
pub const AWS_TRY_MS: u64 = 5_000;
/// Milliseconds of a request with all its tries: a handler must still give its batch back in time.
pub const AWS_REQUEST_MS: u64 = 20_000;
/// Milliseconds of one try to read or write an object: [`RESULT_BYTES_MAX`] at 3 MB a second.
pub const AWS_OBJECT_MS: u64 = 25_000;
/// Requests to AWS that one call has out at once: pages of many keys, not a flood.
pub const AWS_PARALLEL_MAX: usize = 16;

/// Bytes of a `DynamoDB` item, as AWS bounds it.
pub const DYNAMODB_ITEM_BYTES_MAX: usize = 400 << 10;
/// Bytes of facts or of a state after they are decompressed: far above what an item of real text holds.
pub const DYNAMODB_TEXT_BYTES_MAX: usize = 32 << 20;
/// Keys of one `BatchGetItem`, as AWS bounds it.
pub const DYNAMODB_KEYS_MAX: usize = 100;
/// Partitions of the list of executions: each takes 1,000 writes a second.
pub const EXECUTION_SHARDS: i64 = 16;
/// Bytes of one SQS message, and of all messages of one request: 1 MiB, less room for attributes.
pub const SQS_MESSAGE_BYTES_MAX: usize = (1 << 20) - (4 << 10);
/// Messages of one request to SQS, as AWS bounds it.
pub const SQS_BATCH_MAX: usize = 10;
/// Milliseconds that SQS holds a message back, as AWS bounds it.
pub const SQS_DELAY_MS_MAX: i64 = 900_000;

/// Bytes of one S3 object that a step reads or writes as a value: half of what a result may have.
pub const S3_OBJECT_BYTES_MAX: usize = 32 << 20;
/// Bytes of one part of a streamed upload: above the 5 MiB that S3 asks for, and held in memory once.
pub const S3_PART_BYTES: usize = 8 << 20;
/// Parts of one streamed upload, as S3 bounds them.
pub const S3_PARTS_MAX: usize = 10_000;
/// Objects of one listing when nothing names a number: one page of S3.
pub const S3_LIST_DEFAULT: usize = 1_000;
/// Objects of one listing, whatever is asked for: about 2 MB of result.
pub const S3_LIST_MAX: usize = 10_000;

/// Bytes of the payload of a Lambda function that is waited for, as AWS bounds it.
pub const LAMBDA_PAYLOAD_BYTES_MAX: usize = 6 << 20;
/// Bytes of the payload of a Lambda function that is not waited for, as AWS bounds it.
pub const LAMBDA_EVENT_BYTES_MAX: usize = 1 << 20;
/// Lines of a function's stack trace that an error keeps.
pub const LAMBDA_TRACE_LINES_MAX: usize = 50;

/// Connections to NATS that a worker keeps: distinct servers and users at one time.
pub const NATS_CONNECTIONS_MAX: usize = 16;
/// Milliseconds to connect to NATS: a live server answers far sooner.
pub const NATS_CONNECT_MS: u64 = 5_000;
/// Times that a lost connection is tried again in the background before it is given up.
pub const NATS_RECONNECTS_MAX: usize = 3;
/// Bytes of a key or a subject: longer ones are data.
pub const NATS_NAME_BYTES_MAX: usize = 1_024;
/// Bytes of one object of an object store that a step reads or writes: half of what a result may have.
pub const NATS_OBJECT_BYTES_MAX: usize = 32 << 20;
/// Keys or objects of one listing when nothing names a number.
pub const NATS_LIST_DEFAULT: usize = 1_000;
/// Keys or objects of one listing, whatever is asked for.
pub const NATS_LIST_MAX: usize = 10_000;
/// Buckets or streams that an error names.
pub const NATS_NAMES_SHOWN: usize = 20;

/// Milliseconds for one request to NATS: a leader that is elected anew needs some seconds.
pub const NATS_REQUEST_MS: u64 = 5_000;
/// Bytes of a message to NATS that headers and subject may take: a key has at most 500, a header 100.
pub const NATS_HEADER_BYTES: usize = 1 << 10;
/// Reads of one list or page that are under way at once.
pub const NATS_PARALLEL_MAX: usize = 16;
/// Entries of a playbook's keychain: each may be a request before a call.
pub const KEYCHAIN_ENTRIES_MAX: usize = 100;
/// Fetched keychain values that a worker keeps: executions that run at the same time, times their entries.
pub const KEYCHAIN_ENTRIES_KEPT: usize = 256;
/// Milliseconds that fetching one keychain value may take, as one HTTP call.
pub const KEYCHAIN_FETCH_MS: u64 = 30_000;
/// Milliseconds that a keychain value of one execution is used when nothing says how long (`NoETL`: an hour).
pub const KEYCHAIN_TTL_MS_LOCAL: i64 = 3_600_000;
/// The same for one that executions share (`NoETL`: a day).
pub const KEYCHAIN_TTL_MS_GLOBAL: i64 = 86_400_000;
/// Milliseconds before its end at which a token is renewed: one that is sent must still be valid on arrival.
pub const KEYCHAIN_RENEW_MS: i64 = 30_000;
/// Rows of one chunk of a transfer when nothing names a number, as `NoETL` has it.
pub const TRANSFER_CHUNK_ROWS_DEFAULT: usize = 1_000;
/// The same for a table of `DuckDB`: a vector of it. Chunks that share vectors leave 256 KiB behind for
/// each of its groups of rows until the database is closed.
pub const TRANSFER_CHUNK_ROWS_DUCKDB: usize = 2_048;
/// Rows of one chunk of a transfer: two chunks are in memory, and one is one statement.
pub const TRANSFER_CHUNK_ROWS_MAX: usize = 10_000;
/// Bytes of encoded rows after which a chunk is full, however few they are: wide rows cost memory too.
pub const TRANSFER_CHUNK_BYTES: usize = 8 << 20;
/// Bytes of one encoded row of a transfer: far above any record, and the only thing that is buffered whole.
pub const TRANSFER_ROW_BYTES_MAX: usize = 16 << 20;
/// Bytes that are read from a file or a bucket at once.
pub const TRANSFER_PIECE_BYTES: usize = 64 << 10;
/// Rows of one group of a Parquet file that a transfer writes: a group is in memory whole. A multiple of
/// 2,048, as `DuckDB` asks for.
pub const PARQUET_GROUP_ROWS: usize = 20_480;
/// Bytes after which a group is written, however few rows it has.
pub const PARQUET_GROUP_BYTES: usize = 16 << 20;
/// Chunks of rows that wait in memory for a part of a Parquet file: 64 MiB of rows at most.
pub const PARQUET_PART_CHUNKS: usize = 8;
/// Names that an error lists when it says what exists.
pub const TRANSFER_NAMES_SHOWN: usize = 20;

/// Steps of one `rhai` script: a few seconds of work; more belongs into another tool.
pub const RHAI_OPERATIONS_MAX: u64 = 50_000_000;
/// Calls inside each other of one `rhai` script: each takes stack of the thread that runs it.
pub const RHAI_CALLS_DEEP: usize = 32;
/// Nesting of an expression of a `rhai` script, for the same reason.
pub const RHAI_EXPRESSION_DEPTH: usize = 64;
/// Bytes of one text of a `rhai` script, and of all texts inside one list or map.
pub const RHAI_TEXT_BYTES_MAX: usize = 4 << 20;
/// Items of one list or map of a `rhai` script, those inside its items counted too: it counts them all
/// whenever one is added.
pub const RHAI_ITEMS_MAX: usize = 10_000;

/// Commands of one `shell` call: a longer list is a script.
pub const SHELL_COMMANDS_MAX: usize = 100;
/// Bytes of stdout, and of stderr, that the result of one `shell` command keeps.
pub const SHELL_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Bytes of one value that a `shell` command gets in its environment: what the system takes.
pub const SHELL_VARIABLE_BYTES_MAX: usize = 128 << 10;

/// Bytes that one `file` sink writes at once: they are in memory until they are written.
pub const FILE_BYTES_MAX: usize = 256 << 20;

/// Queues that one local event source mapping polls: those of a whole stack, dead letters too.
pub const ESM_MAPPINGS_MAX: usize = 64;
/// Schedules, and fronts for HTTP, of one local event source mapping: a stack has one of each.
pub const ESM_TRIGGERS_MAX: usize = 16;
/// Messages of one batch: what SQS gives out at once, and what Lambda allows for a FIFO queue.
pub const ESM_BATCH_MAX: usize = 10;
/// Batches of one queue that are with their function at once when nothing names a number: Lambda begins with
/// five.
pub const ESM_CONCURRENCY_DEFAULT: usize = 5;
/// Batches of one queue that are with their function at once: each is a process on this machine.
pub const ESM_CONCURRENCY_MAX: usize = 64;
/// Seconds that one look at an empty queue waits for a message: the most that SQS allows.
pub const ESM_POLL_S: u64 = 20;
/// Milliseconds after which a look at a queue that is not answered is given up: beyond its own wait.
pub const ESM_POLL_MARGIN_MS: u64 = 10_000;
/// Milliseconds of any other request to SQS of the local event source mapping.
pub const ESM_REQUEST_MS: u64 = 10_000;
/// Milliseconds before something that cannot be reached is tried again; doubled each time.
pub const ESM_BACKOFF_MS: u64 = 200;
/// Milliseconds between two tries, at most: a restarted emulator is found again while somebody looks.
pub const ESM_BACKOFF_MS_MAX: u64 = 5_000;
/// Milliseconds of one invocation: what Lambda allows. A queue's visibility timeout may end it before.
pub const ESM_INVOCATION_MS_MAX: u64 = 900_000;
/// Milliseconds that batches and requests in flight may take when the process is told to stop: it ends
/// within two seconds.
pub const ESM_GRACE_MS: u64 = 1_500;
/// Milliseconds between two calls of a schedule, at least.
pub const ESM_EVERY_MS_MIN: u64 = 100;
/// Milliseconds between two calls of a schedule, at most: a day.
pub const ESM_EVERY_MS_MAX: u64 = 86_400_000;
/// Requests that one HTTP front has with its function at once; more are asked to come again.
pub const ESM_HTTP_REQUESTS_MAX: usize = 64;
/// Milliseconds of one request at an HTTP front: what an HTTP API of AWS waits for a function.
pub const ESM_HTTP_MS: u64 = 30_000;

/// Milliseconds before a function's end at which it stops: what it has to say must still be sent.
pub const FUNCTION_MARGIN_MS: i64 = 2_000;
/// Milliseconds before that at which a worker's calls end: a tool that does not stop is dropped after
/// [`TOOL_GRACE_MS`], then its outcomes are put away and sent.
pub const WORKER_ANSWER_MS: u64 = 3_000;
/// Seconds after which a message that can never be handled is tried again: it must go to the dead letters
/// soon, for it holds up its group.
pub const POISON_RETRY_S: u32 = 1;
/// Seconds after which inputs that were not folded are tried again, the first times; later they wait for
/// their visibility timeout, so that ten tries outlast an outage of minutes.
pub const EVENT_RETRIES_S: [u32; 3] = [1, 3, 9];
/// Milliseconds that an execution is left alone after its newest entry: the time between two sweeps.
pub const TICK_INTERVAL_MS: i64 = 60_000;
/// Running executions that one sweep looks at: what 30 s of reads and ticks allow; the next one goes on.
pub const SWEEP_EXECUTIONS_MAX: usize = 2_000;
/// Running executions of one page of a sweep, looked at side by side.
pub const SWEEP_PAGE: usize = 100;
/// Milliseconds in which a request behind an HTTP API of AWS must be decided: its function ends at 29 s.
pub const API_FUNCTION_MS: u64 = 25_000;
/// Milliseconds that the start of an execution is waited for before it is answered: a warm event handler
/// needs a tenth of it.
pub const API_START_MS: i64 = 1_000;
/// Milliseconds between two looks for it.
pub const API_START_LOOK_MS: i64 = 100;
