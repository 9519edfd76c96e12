// The real rules in the real PostgreSQL, through connections that stay: each step of the simulation is one script, sent to a psql,
// with the steps of the services as functions that call the schema's own.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { RESTORE_HELPERS } from "./restore.mjs";
import { HASH, INGEST, START, TRANSCODER, literal, stack, startDatabase } from "../lib/steps.mjs";

const HELPERS = `
create schema simulation;
create table simulation.seen (ledger bigint not null);
insert into simulation.seen select coalesce(max(id), 0) from rushes.ledger;

-- What the ledger says since the last call.
create function simulation.observe() returns jsonb language plpgsql as $$
declare v jsonb; n bigint;
begin
	select coalesce(jsonb_agg(jsonb_build_object('kind', l.kind, 'recording', l.recording, 'copy', l.copy, 'rule', l.rule) order by l.id), '[]'),
	       max(l.id) into v, n
	from rushes.ledger l where l.id > (select ledger from simulation.seen);
	update simulation.seen set ledger = coalesce(n, ledger);
	return v;
end $$;

create function simulation.copy_id(p_recording uuid, p_name text) returns uuid language sql stable
	as $$ select md5(p_recording || p_name)::uuid $$;

-- A take of 100 bytes in each of so many closed segments, in the session of the take p_beside, or in one of its own.
create function simulation.take(p_recording uuid, p_account uuid, p_environment uuid, p_beside uuid, p_replaces uuid, p_segments integer)
	returns text language plpgsql as $$
declare
	v_code bytea := decode(md5('link' || p_recording), 'hex');
	v_session uuid := (select session from rushes.recording where id = p_beside);
	v_copy uuid;
	v_key uuid := (select id from rushes.account_key where account = p_account);
	v_epoch integer;
	v_verdict text;
begin
	if v_session is null then
		perform rushes.link_create('simulation', p_account, p_environment, simulation.copy_id(p_recording, 'link'), v_code,
			rushes.rushes_now() + interval '1 day', 1, '{}', null);
		v_session := simulation.copy_id(p_recording, 'session');
		perform rushes.session_open(v_code, v_session, '\\x01', null, (select consent_text from rushes.environment where id = p_environment), '12 h');
	end if;
	select verdict into v_verdict from rushes.recording_open(p_recording, p_account, v_session, 'video/webm', '192.0.2.1', 'agent', null,
		null, null, p_replaces, null);
	if v_verdict <> 'new' then
		return v_verdict;
	end if;
	if v_key is null then
		select id into v_key from rushes.account_key_add(p_account, simulation.copy_id(p_account, 'key'), 'root', '\\x00');
	end if;
	for i in 0 .. p_segments - 1 loop
		v_copy := simulation.copy_id(p_recording, 'segment' || i);
		select epoch into v_epoch from rushes.segment_prepare(p_recording, v_session);
		perform rushes.segment_open(p_recording, v_epoch, i, '${INGEST}', i * 100, v_copy, 'a.sealed', v_key, '\\x01');
		perform rushes.segment_present(v_copy, '${INGEST}');
		perform rushes.segment_close(p_recording, i, '${INGEST}', 100, '\\x${HASH}', 5);
	end loop;
	return 'new';
end $$;

-- One job's attempt as its service makes it. p_fates: how often it fails by key, 99: it can never work.
create function simulation.attempt(j rushes.job, p_fail integer, p_main boolean) returns text language plpgsql as $$
declare
	v_copy uuid;
	v_outputs jsonb := '[]';
	v_kind text;
	v_state text;
begin
	if j.kind = 'push' then
		if exists (select from rushes.copy c where c.recording = j.recording and c.kind = j.file_kind and c.target = j.target and c.state = 'going') then
			p_fail := greatest(p_fail, j.failures + 1);
		else
			select copy into v_copy from rushes.push_begin(j.id, j.attempt, simulation.copy_id(j.recording, j.file_kind || j.target || j.id), 'an.object', null);
		end if;
	elsif j.kind = 'copy' then
		v_kind := case when p_main then 'main' else 'raw' end;
		v_copy := simulation.copy_id(j.recording, v_kind || j.id || j.attempt);
		perform rushes.file_copy_begin(j.id, j.attempt, '${TRANSCODER}', v_kind, v_copy, 'b.sealed');
	else
		foreach v_kind in array array['main', 'snapshot', 'filmstrip'] loop
			v_copy := simulation.copy_id(j.recording, v_kind || j.id || j.attempt);
			perform rushes.file_copy_begin(j.id, j.attempt, '${TRANSCODER}', v_kind, v_copy, 'b.sealed');
			v_outputs := v_outputs || jsonb_build_object('kind', v_kind, 'copy', v_copy, 'bytes', 7, 'sha256', '${HASH}', 'facts', '{}'::jsonb);
		end loop;
	end if;
	if j.failures < p_fail then
		select state into v_state from rushes.job_failed(j.id, j.attempt, 'retry', 'simulated', p_fail = 99);
		return v_state;
	end if;
	if j.kind = 'push' then
		perform rushes.push_job_done(j.id, j.attempt, v_copy, '{}', false);
	elsif j.kind = 'copy' then
		perform rushes.copy_job_done(j.id, j.attempt, v_copy, (select bytes from rushes.recording where id = j.recording), '\\x${HASH}', '{}');
	else
		perform rushes.convert_job_done(j.id, j.attempt, v_outputs);
	end if;
	return 'done';
end $$;

-- Everything that is due for one recording. Returns what happened, its copies, and when there is more to do.
create function simulation.work(p_recording uuid, p_fates jsonb, p_main boolean) returns jsonb language plpgsql as $$
declare
	q rushes.job;
	j rushes.job;
	v_key text;
	v_events jsonb := '[]';
begin
	loop
		select * into q from rushes.job x
		where x.recording = p_recording and x.kind <> 'delete' and x.state = 'queued' and x.next_attempt_at <= rushes.rushes_now()
		order by x.rank, x.target limit 1;
		exit when not found;
		select * into j from rushes.job_claim(q.id, q.kind, 'eu1',
			case when q.kind = 'push' then 'storage-pusher/a#1' else 'transcoder/${TRANSCODER}#1' end, '${TRANSCODER}', '30 s');
		if not found or j.id <> q.id then
			raise exception 'job % of recording % is due and was not given', q.id, p_recording;
		end if;
		v_key := concat_ws('/', j.kind, j.file_kind, j.target);
		v_events := v_events || jsonb_build_object('job', j.id, 'key', v_key, 'kind', j.kind, 'file', j.file_kind, 'target', j.target,
			'state', simulation.attempt(j, coalesce((p_fates->>v_key)::integer, 0), p_main));
	end loop;
	return jsonb_build_object('events', v_events,
		'state', (select state from rushes.recording where id = p_recording),
		'next', (select extract(epoch from min(next_attempt_at)) * 1000 from rushes.job where recording = p_recording and kind <> 'delete'),
		'pushes', (select coalesce(jsonb_agg(jsonb_build_object('file', file_kind, 'target', target)), '[]') from rushes.job
			   where recording = p_recording and kind = 'push'),
		'copies', (select coalesce(jsonb_agg(jsonb_build_object('id', id, 'kind', coalesce(kind, 'raw'), 'segment', segment, 'target', target)
				order by kind, target), '[]')
			   from rushes.copy where recording = p_recording and state in ('present', 'released')));
end $$;

-- One round of the sweeps that run, as long as the gate trusts the clock, and of the owners that are up; targets that are down
-- answer nothing. p_counted_us: what the machine has counted. Returns what the gate says of the clock and what a brake paused.
create function simulation.sweep(p_slices text[], p_nodes uuid[], p_pusher boolean, p_down uuid[], p_counted_us bigint) returns jsonb
	language plpgsql as $$
declare
	v_clock text;
	v_paused jsonb := '[]';
	v_slice text;
	v_node uuid;
	v_copy uuid;
	v_job uuid;
	v_looks jsonb;
	j rushes.job;
begin
	select g.clock into v_clock from rushes.sweep_gate('simulation', p_counted_us, true) g;
	if v_clock <> 'steady' then
		return jsonb_build_object('clock', v_clock, 'paused', v_paused);
	end if;
	if 'janitor' = any (p_slices) then
		while rushes.rules_change_work(500) > 0 loop
		end loop;
	end if;
	foreach v_slice in array p_slices loop
		v_paused := v_paused || (select coalesce(jsonb_agg(jsonb_build_object('rule', b.rule, 'place', b.place)), '[]')
					 from rushes.sweep_brakes(v_slice) b);
		loop
			perform from rushes.sweep_decide(v_slice, 500);
			exit when not found;
		end loop;
	end loop;
	foreach v_node in array p_nodes loop
		-- and what an attempt began that nobody works on any more
		for v_copy in select copy from rushes.copies_going(v_node, 5000)
			union all
			select c.id from rushes.copy c
			where c.node = v_node and c.state = 'incoming' and c.kind is not null
			  and not exists (select from rushes.job q where q.id = c.job and q.attempt = c.attempt and q.state = 'running')
		loop
			perform rushes.copy_gone(v_copy, 'node/' || v_node, '{"unlinked": true}');
		end loop;
	end loop;
	if p_pusher then
		for v_job in select q.id from rushes.job q
			where q.kind = 'delete' and q.state = 'queued' and q.next_attempt_at <= rushes.rushes_now() order by q.next_attempt_at
		loop
			select * into j from rushes.job_claim(v_job, 'delete', 'eu1', 'storage-pusher/a#1', null, '30 s');
			if j.target = any (p_down) then
				perform rushes.job_failed(j.id, j.attempt, 'retry', 'the target is down', false);
			else
				perform rushes.delete_job_done(j.id, j.attempt, '{"versions": 1}');
			end if;
		end loop;
		loop
			select x into v_looks from rushes.second_look_take('eu1', 'storage-pusher/a#1', '30 s') x;
			exit when v_looks is null;
			perform rushes.second_look_done((v_looks->'copy'->>'id')::uuid, (v_looks->>'attempt')::integer, false, '{}');
		end loop;
	end if;
	if 'janitor' = any (p_slices) then
		perform rushes.personal_sweep(5000);
		perform rushes.account_keys_sweep(100);
	end if;
	return jsonb_build_object('clock', v_clock, 'paused', v_paused);
end $$;

-- linkgen's sweep. Returns how many links are left.
create function simulation.links() returns bigint language plpgsql as $$
begin
	while rushes.link_sweep(500) > 0 loop
	end loop;
	return (select count(*) from rushes.link);
end $$;

-- Whether the alarm names a recording.
create function simulation.is_alarmed(p_recording uuid) returns boolean language sql
	as $$ select exists (select from rushes.deletion_overdue('4 days') o where o.recording = p_recording) $$;

-- A person sends a job that failed on its way again.
create function simulation.retry(p_job uuid) returns text language plpgsql as $$
begin
	perform rushes.job_retry(p_job, 'simulation');
	return 'retried';
end $$;

-- How many rows are left of recordings whose deletion was decided, or of their personal data, by recording.
create function simulation.left_of(p_recordings uuid[]) returns jsonb language sql as $$
	select coalesce(jsonb_object_agg(id, n), '{}') from (
		select u.id, (select count(*) from rushes.copy where recording = u.id and state <> 'released')
			   + (select count(*) from rushes.recording_personal where recording = u.id)
			   + (select count(*) from rushes.recording_key where recording = u.id)
			   + (select count(*) from rushes.recording where id = u.id and state <> 'deleted') as n
		from unnest(p_recordings) u(id)) x
	where n > 0
$$;
`;

/** A psql that stays. `send(sql)` resolves to the lines of its answers. */
function openSession() {
	const child = spawn(
		"/usr/lib/postgresql/15/bin/psql",
		["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", path.join(stack.postgres.dir, "socket"), "-p", String(stack.ports.postgres), "-U", "postgres", "-d", "rushes"],
		{ env: { PATH: process.env.PATH, LANG: "C.UTF-8", PGTZ: "UTC" } },
	);
	let output = "";
	let complaint = "";
	let waiting = null;
	child.stdout.setEncoding("utf8").on("data", (text) => {
		output += text;
		if (!output.endsWith("\n--\n") && output !== "--\n") return;
		const lines = output.split("\n").slice(0, -2).filter((line) => line !== "");
		output = "";
		waiting?.resolve(lines);
	});
	child.stderr.setEncoding("utf8").on("data", (text) => (complaint += text));
	const ended = new Promise((resolve) => child.on("close", resolve));
	ended.then(() => waiting?.reject(new Error(`psql ended: ${complaint}`)));
	return {
		send: (sql) =>
			new Promise((resolve, reject) => {
				waiting = { resolve, reject };
				child.stdin.write(`${sql}\n\\echo --\n`);
			}),
		end() {
			child.stdin.end();
			return ended;
		},
	};
}

const times = {};
/** Sets the clock of a session and calls functions of the schema; each call is [name, args...]. Their answers, as text. Calls of
 *  one of our own functions that follow each other are one statement. */
function step(session, at, calls) {
	const sql = [`set simulation.now = '${new Date(at).toISOString()}';`];
	for (let i = 0; i < calls.length; ) {
		const [name] = calls[i];
		const texts = [];
		do {
			const [, ...args] = calls[i++];
			texts.push(`${name}(${args.map((value) => (value?.sql ? value.sql : literal(value))).join(", ")})`);
		} while (name.startsWith("simulation.") && calls[i]?.[0] === name);
		if (name.startsWith("simulation.")) sql.push(`select coalesce(nullif(x::text, ''), '-') from (values ${texts.map((text) => `(${text})`).join(", ")}) as v(x);`);
		else sql.push(`select coalesce(nullif((select x::text from ${texts[0]} x limit 1), ''), '-');`);
	}
	return session.send(sql.join("\n"));
}

// a setting is a clock that costs nothing to read
const CLOCK = `alter database rushes set simulation.now = '${START}';`;

/** Starts the servers, the helpers and two sessions. `step(at, calls)` works in the first, `beside(at, calls)` in the other. */
export async function startSimulationDatabase() {
	await startDatabase();
	await stack.postgres.psql(`${CLOCK}
		alter system set full_page_writes = off;
		alter system set autovacuum_naptime = '1min';
		select pg_reload_conf();
		create or replace function rushes.rushes_now() returns timestamptz language sql stable parallel safe
			as $$ select current_setting('simulation.now')::timestamptz $$;`);
	await stack.postgres.psql(HELPERS + RESTORE_HELPERS);
	const open = async () => {
		const sessions = [openSession(), openSession()];
		// plans as large tables have them
		for (const session of sessions) await session.send("set synchronous_commit = off; set jit = off; set enable_seqscan = off; set client_min_messages = error; set statement_timeout = '10min';");
		return sessions;
	};
	const admin = (sql) => stack.postgres.psql(sql, { database: "postgres" });
	let sessions = await open();
	const close = () => Promise.all(sessions.map((session) => session.end()));
	return {
		step: (at, calls) => step(sessions[0], at, calls),
		beside: (at, calls) => step(sessions[1], at, calls),
		send: (sql) => sessions[0].send(sql),
		/** A copy of the database as it is now, which restore() puts in its place. */
		async backup() {
			await close();
			await admin("drop database if exists rushes_before; create database rushes_before template rushes owner rushes_migrate strategy file_copy");
			sessions = await open();
		},
		/** What the copy answers. */
		backedUp: (sql) => stack.postgres.psql(sql, { database: "rushes_before" }),
		async restore() {
			await close();
			await admin(`alter database rushes rename to rushes_lost; alter database rushes_before rename to rushes; ${CLOCK} drop database rushes_lost`);
			sessions = await open();
		},
		async stop() {
			await close();
			await stack.remove();
			fs.rmSync(stack.dir, { recursive: true, force: true });
		},
	};
}

export const uuids = (list) => ({ sql: `array[${list.map((id) => `'${id}'`).join(",")}]::uuid[]` });
export const texts = (list) => ({ sql: `array[${list.map((text) => `'${text}'`).join(",")}]::text[]` });
