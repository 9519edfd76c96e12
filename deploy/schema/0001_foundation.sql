-- The ground: time, the installation, errors that callers can tell apart, and the roles' entry.
-- Every step of a recording's way is one function of this schema: it locks the recording first, checks the fence, records
-- what is now true and inserts the jobs and events that follow. Services may execute functions; few may read tables.

create schema if not exists rushes;
revoke all on schema rushes from public;
-- per schema this default can only be widened, so it is the owner's for all schemas
alter default privileges revoke execute on functions from public;

-- All SQL time comes from here. Test builds replace the body; nothing else may.
create function rushes.rushes_now() returns timestamptz
	language sql stable parallel safe
	as $$ select now() $$;

create table rushes.installation (
	singleton boolean primary key default true check (singleton),
	-- the zone of "28 days at midnight"
	zone text not null default 'Europe/Bucharest',
	-- `restoring`: a restored database that has not been reconciled with the ledger; every service refuses to work
	state text not null default 'open' check (state in ('open', 'restoring')),
	-- the incarnation of the database that the gate was opened for, and the start of the server that it was compared in;
	-- 0090_gate.sql tells what these are
	system_identifier bigint,
	timeline text,
	database_oid oid,
	relation_oid oid,
	server_start timestamptz,
	-- the server's start after which somebody outside confirmed that the database is not older than what they saw
	witnessed_start timestamptz,
	-- whether commits wait for a standby
	is_synchronous boolean not null default false,
	restoring_since timestamptz,
	restoring_cause text check (restoring_cause in ('timeline', 'dump', 'witness', 'ledger-target', 'person')),
	restoring_why text,
	created_at timestamptz not null default rushes.rushes_now()
);
insert into rushes.installation default values;

-- Refuses with a class that libcommon/store maps to its error codes:
-- RU001 conflict or fenced, RU002 not found, RU003 no right, RU004 being deleted or cancelled, RU005 wrong input, RU006 the
-- database was restored and is not reconciled.
create function rushes.refuse(p_class text, p_message text) returns void
	language plpgsql
	as $$
begin
	raise exception using errcode = p_class, message = p_message;
end $$;

-- The first instant of a local day: its midnight; where a clock change leaves midnight out the first instant behind it, where
-- midnight comes twice the first one.
create function rushes.day_begins_beside_change(p_day timestamp, p_zone text) returns timestamptz
	language plpgsql stable parallel safe
	as $$
declare
	-- offsets lie between -12 and +14 hours, and a zone may leave out a whole day
	v_low timestamptz := (p_day - interval '15 h') at time zone 'UTC';
	v_high timestamptz := (p_day + interval '37 h') at time zone 'UTC';
	v_middle timestamptz;
begin
	while v_high - v_low > interval '1 min' loop
		v_middle := v_low + date_trunc('minute', (v_high - v_low) / 2);
		if v_middle at time zone p_zone < p_day then
			v_low := v_middle;
		else
			v_high := v_middle;
		end if;
	end loop;
	return v_high;
end $$;

create function rushes.day_begins(p_day timestamp, p_zone text) returns timestamptz
	language sql stable parallel safe
	as $$
	-- no change within a day: there is one midnight. Written so that PostgreSQL puts it into the function that asks.
	select case when (p_day at time zone p_zone - interval '24 h') at time zone p_zone = p_day - interval '1 day'
			 and (p_day at time zone p_zone + interval '24 h') at time zone p_zone = p_day + interval '1 day'
		    then p_day at time zone p_zone
		    else rushes.day_begins_beside_change(p_day, p_zone) end
$$;

-- "28 days at midnight": the starting day is day 1; ends at the midnight that closes day 28, in the installation's zone.
create function rushes.midnight_after_28_days(p_start timestamptz, p_zone text) returns timestamptz
	-- not SQL: put into a statement it would stand there many times, and each start of the statement would pay for all
	language plpgsql stable parallel safe
	as $$
begin
	return rushes.day_begins(date_trunc('day', p_start at time zone p_zone) + interval '28 days', p_zone);
end $$;

create function rushes.midnight_after_28_days(p_start timestamptz) returns timestamptz
	language sql stable
	as $$ select rushes.midnight_after_28_days(p_start, i.zone) from rushes.installation i $$;

-- The wait after the n-th failure (n from 1). 13 attempts in all; null when there is no further one. 74 h 2 min together.
create function rushes.attempt_wait(p_failures integer) returns interval
	language sql immutable parallel safe
	as $$
	select (array['2 min', '5 min', '10 min', '15 min', '30 min', '60 min',
		      '2 h', '4 h', '6 h', '12 h', '24 h', '24 h']::interval[])[p_failures]
$$;

-- Legal changes of state; set_recording_state and the job functions read it.
create table rushes.transition (
	noun text not null,
	from_state text not null,
	to_state text not null,
	primary key (noun, from_state, to_state)
);
insert into rushes.transition values
	('recording', 'open', 'saved'),
	('recording', 'saved', 'processed'),
	('recording', 'saved', 'failed-copy'),
	('recording', 'saved', 'failed-conversion'),
	('recording', 'failed-copy', 'saved'),
	('recording', 'failed-conversion', 'saved'),
	('recording', 'processed', 'closed'),
	('recording', 'closed', 'processed'),
	-- what was made of it is lost with its spool, and it is made again
	('recording', 'processed', 'saved'),
	('recording', 'open', 'deleting'),
	('recording', 'saved', 'deleting'),
	('recording', 'processed', 'deleting'),
	('recording', 'closed', 'deleting'),
	('recording', 'failed-copy', 'deleting'),
	('recording', 'failed-conversion', 'deleting'),
	('recording', 'deleting', 'deleted'),
	('job', 'queued', 'running'),
	('job', 'queued', 'waiting-for-node'),
	('job', 'waiting-for-node', 'queued'),
	('job', 'waiting-for-node', 'cancelled'),
	('job', 'running', 'queued'),
	('job', 'running', 'done'),
	('job', 'running', 'failed'),
	('job', 'running', 'cancelled'),
	('job', 'queued', 'cancelled');
