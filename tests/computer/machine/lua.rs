//! The Lua of a computer: its thread, and what `rom/` stands on.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mlua::{
    Function, HookTriggers, Lua, MultiValue, Result, Table, Value as LuaValue, VmState,
    thread::ThreadStatus,
};
use tokio::sync::mpsc::unbounded_channel;

use super::{
    Shared,
    events::{Event, Value},
    net::{self, Address, Outgoing},
};

/// The APIs, in the order of loading.
const ROM: [(&str, &str); 9] = [
    ("bios", include_str!("../rom/bios.lua")),
    ("textutils", include_str!("../rom/textutils.lua")),
    ("fs", include_str!("../rom/fs.lua")),
    ("settings", include_str!("../rom/settings.lua")),
    ("http", include_str!("../rom/http.lua")),
    ("parallel", include_str!("../rom/parallel.lua")),
    ("peripheral", include_str!("../rom/peripheral.lua")),
    ("rednet", include_str!("../rom/rednet.lua")),
    ("shell", include_str!("../rom/shell.lua")),
];

/// Instructions between two looks at the clock.
const INSTRUCTIONS: u32 = 10_000;

/// Runs a computer until it is stopped or switches itself off; reboots in between.
pub fn run(shared: &Arc<Shared>, command: &str) {
    while let Some(again) = boot(shared, command).expect("the stand-in's own Lua works") {
        shared.sockets.lock().expect("no panic under the lock").clear();
        shared.events.clear();
        if !again {
            return;
        }
    }
}

/// One life: nothing when it was stopped from outside, else whether it is to start again.
fn boot(shared: &Arc<Shared>, command: &str) -> Result<Option<bool>> {
    let lua = Lua::new();
    let resumed = Arc::new(std::sync::Mutex::new(Instant::now()));
    let (watched, since) = (shared.clone(), resumed.clone());
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(INSTRUCTIONS), move |_, _| {
        let busy = since.lock().expect("no panic under the lock").elapsed();
        if watched.events.is_stopped() || busy > watched.options.patience {
            return Err(mlua::Error::runtime("Too long without yielding"));
        }
        Ok(VmState::Continue)
    })?;
    let native = natives(&lua, shared)?;
    native.set("command", command)?;
    for (name, source) in ROM {
        lua.load(source).set_name(format!("={name}")).call::<()>(native.clone())?;
    }
    let main = lua.create_thread(native.get::<Function>("main")?)?;
    let mut event = MultiValue::new();
    loop {
        *resumed.lock().expect("no panic under the lock") = Instant::now();
        let yielded = main.resume::<Option<LuaValue>>(event);
        if shared.events.is_stopped() {
            return Ok(None);
        }
        if let Some(again) = native.get::<Option<bool>>("switched_off")? {
            return Ok(Some(again));
        }
        let wanted = yielded?;
        if main.status() != ThreadStatus::Resumable {
            return Ok(Some(false));
        }
        let slot = shared.options.events_per_second.map(|rate| Duration::from_secs(1) / rate);
        if let Some(slot) = slot {
            let since = *resumed.lock().expect("no panic under the lock");
            shared.events.busy_until(since + slot);
        }
        let filter =
            wanted.as_ref().and_then(LuaValue::as_string).map(|name| name.as_bytes().to_vec());
        event = loop {
            let Some(next) = shared.events.next() else { return Ok(None) };
            let is = |name: &[u8]| matches!(next.first(), Some(Value::Text(is)) if is == name);
            if filter.as_ref().is_none_or(|filter| is(filter)) || is(b"terminate") {
                let values = next.iter().map(|value| to_lua(&lua, &native, value));
                break values.collect::<Result<Vec<_>>>()?.into_iter().collect();
            }
        };
    }
}

/// A value for Lua.
fn to_lua(lua: &Lua, native: &Table, value: &Value) -> Result<LuaValue> {
    Ok(match value {
        Value::Nil => LuaValue::Nil,
        Value::Bool(value) => LuaValue::Boolean(*value),
        Value::Number(number) => LuaValue::Number(*number),
        Value::Text(bytes) => LuaValue::String(lua.create_string(bytes)?),
        Value::Table(pairs) => {
            let table = lua.create_table()?;
            for (key, value) in pairs {
                table.raw_set(to_lua(lua, native, key)?, to_lua(lua, native, value)?)?;
            }
            LuaValue::Table(table)
        }
        Value::Socket(id, url) => {
            native.get::<Function>("socket_handle")?.call((*id, url.as_str()))?
        }
        Value::Answer(status, body) => {
            let body = lua.create_string(body)?;
            native.get::<Function>("answer_handle")?.call((*status, body))?
        }
    })
}

/// A value for the queue: tables are copied, functions are left out.
fn from_lua(value: &LuaValue, depth: usize) -> Result<Value> {
    if depth > 200 {
        return Err(mlua::Error::runtime("tables are nested too deeply"));
    }
    Ok(match value {
        LuaValue::Boolean(value) => Value::Bool(*value),
        LuaValue::Integer(number) => Value::Number(*number as f64),
        LuaValue::Number(number) => Value::Number(*number),
        LuaValue::String(text) => Value::Text(text.as_bytes().to_vec()),
        LuaValue::Table(table) => {
            let mut pairs = Vec::new();
            for pair in table.pairs::<LuaValue, LuaValue>() {
                let (key, value) = pair?;
                let (key, value) = (from_lua(&key, depth + 1)?, from_lua(&value, depth + 1)?);
                if key != Value::Nil && value != Value::Nil {
                    pairs.push((key, value));
                }
            }
            Value::Table(pairs)
        }
        _ => Value::Nil,
    })
}

/// The functions under the APIs of `rom/`.
fn natives(lua: &Lua, shared: &Arc<Shared>) -> Result<Table> {
    let native = lua.create_table()?;
    native.set("id", shared.options.id)?;
    native.set("label", shared.options.label.clone())?;
    native.set("modern", shared.options.modern)?;
    native.set("largest_frame", shared.options.largest_frame)?;
    time(lua, shared, &native)?;
    files(lua, shared, &native)?;
    screen(lua, shared, &native)?;
    network(lua, shared, &native)?;
    let lent = shared.clone();
    native.set(
        "ended",
        lua.create_function(move |_, problem: Option<mlua::LuaString>| {
            let problem =
                problem.map(|text| String::from_utf8_lossy(&text.as_bytes()).into_owned());
            lent.endings.lock().expect("no panic under the lock").push(problem);
            Ok(())
        })?,
    )?;
    Ok(native)
}

fn time(lua: &Lua, shared: &Arc<Shared>, native: &Table) -> Result<()> {
    let lent = shared.clone();
    native.set(
        "queue_event",
        lua.create_function(move |_, values: MultiValue| {
            let event = values.iter().map(|value| from_lua(value, 0)).collect::<Result<Event>>()?;
            lent.events.push(event);
            Ok(())
        })?,
    )?;
    let lent = shared.clone();
    native.set(
        "start_timer",
        lua.create_function(move |_, seconds: f64| Ok(lent.events.start_timer(seconds)))?,
    )?;
    let lent = shared.clone();
    native.set(
        "cancel_timer",
        lua.create_function(move |_, id: f64| {
            lent.events.cancel_timer(id as u64);
            Ok(())
        })?,
    )?;
    let started = Instant::now();
    native.set("clock", lua.create_function(move |_, ()| Ok(started.elapsed().as_secs_f64()))?)?;
    native.set(
        "epoch",
        lua.create_function(|_, ()| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            Ok(since.expect("a clock after 1970").as_millis() as f64)
        })?,
    )
}

fn files(lua: &Lua, shared: &Arc<Shared>, native: &Table) -> Result<()> {
    let lent = shared.clone();
    native.set(
        "read_file",
        lua.create_function(move |lua, path: String| {
            let files = lent.files.lock().expect("no panic under the lock");
            files.get(&path).map(|bytes| lua.create_string(bytes)).transpose()
        })?,
    )?;
    let lent = shared.clone();
    native.set(
        "write_file",
        lua.create_function(move |_, (path, text): (String, Option<mlua::LuaString>)| {
            let mut files = lent.files.lock().expect("no panic under the lock");
            match text {
                Some(text) => files.insert(path, text.as_bytes().to_vec()),
                None => files.remove(&path),
            };
            Ok(())
        })?,
    )?;
    let lent = shared.clone();
    native.set(
        "all_files",
        lua.create_function(move |_, ()| {
            let files = lent.files.lock().expect("no panic under the lock");
            Ok(files.keys().cloned().collect::<Vec<_>>())
        })?,
    )
}

fn screen(lua: &Lua, shared: &Arc<Shared>, native: &Table) -> Result<()> {
    let lent = shared.clone();
    native.set(
        "screen",
        lua.create_function(move |_, (what, first, second): (String, LuaValue, Option<i64>)| {
            let mut screen = lent.screen.lock().expect("no panic under the lock");
            let number = match first {
                LuaValue::Integer(number) => number,
                LuaValue::Number(number) => number as i64,
                _ => 0,
            };
            match what.as_str() {
                "write" => {
                    if let Some(text) = first.as_string() {
                        screen.write(&text.as_bytes());
                    }
                }
                "line" => screen.end_line(),
                "move" => screen.set_cursor(number, second.unwrap_or_default()),
                "scroll" => screen.scroll(number),
                "clear" => screen.clear(),
                "clear_line" => screen.clear_line(),
                "cursor" => return Ok(screen.cursor()),
                "size" => return Ok((super::screen::SIZE.0 as i64, super::screen::SIZE.1 as i64)),
                other => return Err(mlua::Error::runtime(format!("no screen.{other}"))),
            }
            Ok((0, 0))
        })?,
    )
}

fn network(lua: &Lua, shared: &Arc<Shared>, native: &Table) -> Result<()> {
    let lent = shared.clone();
    let mut last = 0;
    native.set(
        "websocket",
        lua.create_function_mut(move |_, (url, pairs): (String, Vec<Vec<String>>)| {
            if let Err(why) = Address::parse(&url, "ws") {
                return Ok((Some(false), Some(why)));
            }
            let mut sockets = lent.sockets.lock().expect("no panic under the lock");
            if sockets.len() >= lent.options.max_sockets {
                return Ok((None, Some("Too many websockets already open".to_owned())));
            }
            last += 1;
            let headers =
                pairs.into_iter().map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            let (sender, outgoing) = unbounded_channel();
            sockets.insert(last, sender);
            lent.runtime.spawn(net::websocket(lent.clone(), last, url, headers, outgoing));
            Ok((Some(true), None))
        })?,
    )?;
    let lent = shared.clone();
    native.set(
        "socket_send",
        lua.create_function(move |_, (id, text, binary): (u64, mlua::LuaString, bool)| {
            let sockets = lent.sockets.lock().expect("no panic under the lock");
            let message = Outgoing { text: text.as_bytes().to_vec(), binary };
            Ok(sockets.get(&id).is_some_and(|socket| socket.send(message).is_ok()))
        })?,
    )?;
    let lent = shared.clone();
    native.set(
        "socket_close",
        lua.create_function(move |_, id: u64| {
            lent.forget_socket(id);
            Ok(())
        })?,
    )?;
    let lent = shared.clone();
    native.set(
        "get",
        lua.create_function(move |_, url: String| {
            if let Err(why) = Address::parse(&url, "http") {
                return Ok((false, Some(why)));
            }
            lent.runtime.spawn(net::get(lent.clone(), url));
            Ok((true, None))
        })?,
    )
}
