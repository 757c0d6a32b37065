//! A data folder of a service that has been in use for long: many live tokens, and a log with many entries that are sequenced and signed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use countersign_core::changes::Write;
use countersign_core::decide::Ctx;
use countersign_core::digest::Digest;
use countersign_core::entry::{EntryDraft, EntryKind};
use countersign_core::identity::Token;
use countersign_core::ids::{AccountId, TokenId};
use countersign_core::names::{AccountName, GroupName};
use countersign_core::time::Micros;
use countersign_engine::{Clock, Engine, EngineConfig, Keyring, NewPerson, Parts};
use countersign_factors::PasswordPool;
use countersign_keys::SystemRandom;
use countersign_keys::opaque::OpaqueToken;
use countersign_keys::password::Passwords;
use countersign_keys::random;
use countersign_ledger::encode;
use countersign_store::{AccountByName, Commit, EntryRow, LatestCheckpoint, Store};
use secrecy::ExposeSecret;

use crate::folder::{Folder, now};

/// What is not told by a request is allowed, so that a load of requests needs nobody's code.
const POLICY: &str =
    "version = 1\n[[rule]]\nid = \"all\"\neffect = \"allow\"\naction = \"command.run\"\ntarget = \"*\"\n";
/// How long the log has been written already.
const HISTORY: Duration = Duration::from_hours(24 * 365);
/// Longer than any benchmark's folder is kept.
const LIFE: Duration = Duration::from_hours(24 * 3650);
/// What is written together. Larger commits save syncs and nothing else.
const BATCH: usize = 8_192;
/// Bearer values that are told to the load.
const SHOWN: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    dir: PathBuf,
    /// Accounts that the tokens act for
    #[arg(long, default_value_t = 200)]
    accounts: usize,
    #[arg(long)]
    tokens: usize,
    #[arg(long)]
    entries: usize,
}

/// Fills the folder, and writes bearer values of some of the tokens to `tokens.txt`, one in each line.
pub(crate) fn seed(args: &Args) -> Result<()> {
    if args.accounts == 0 || args.entries < args.tokens {
        bail!("tokens need accounts, and each token's creation is an entry");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let shown = runtime.block_on(fill(args))?;
    fs::write(args.dir.join("tokens.txt"), shown.join("\n"))?;
    Ok(())
}

async fn fill(args: &Args) -> Result<Vec<String>> {
    let random = SystemRandom;
    let hash = Passwords::default().hash(&random, &"a password for all of them".into())?;
    let people = (0..args.accounts).map(|number| NewPerson {
        name: format!("p{number}"),
        password_hash: hash.clone(),
        totp: None,
        groups: if number == 0 { vec![GroupName::administrators()] } else { Vec::new() },
    });
    let since = now().minus(HISTORY);
    let folder = Folder::create(&args.dir, people.collect(), POLICY.to_owned(), since).await?;
    let mut accounts = Vec::with_capacity(args.accounts);
    for number in 0..args.accounts {
        let name = AccountName::new("local", &format!("p{number}"))?;
        let row = folder.store.load(AccountByName(name)).await?.context("an account is missing")?;
        accounts.push((row.account.id, format!("local:p{number}")));
    }
    let engine = engine(&folder).await?;
    let mut history = History::begin(&engine, since, args.entries).await?;
    let mut shown = Vec::with_capacity(SHOWN);
    let every = args.tokens.div_ceil(SHOWN).max(1);
    let mut commit = Commit::default();
    for number in 0..args.entries {
        let (account, name) = accounts.get(number % accounts.len()).context("no account")?;
        history.tick();
        if number < args.tokens {
            let (token, bearer) = token(&mut history.ctx, *account, number)?;
            if number % every == 0 {
                shown.push(bearer);
            }
            let fields =
                vec![history.ctx.field("account", name.as_str()), history.ctx.field("token", token.id.to_string())];
            commit.writes.push(Write::InsertToken(token));
            let draft = history.ctx.entry(EntryKind::TokenCreated, None, Vec::new(), fields);
            commit.entries.push(history.row(&draft)?);
        } else {
            let fields = vec![
                history.ctx.field("account", name.as_str()),
                history.ctx.field("source", "192.0.2.7"),
                history.ctx.field("factor", "totp"),
            ];
            let draft = history.ctx.entry(EntryKind::LoginSucceeded, None, Vec::new(), fields);
            commit.entries.push(history.row(&draft)?);
        }
        if commit.entries.len() == BATCH || number + 1 == args.entries {
            folder.store.commit(std::mem::take(&mut commit)).await?;
            engine.sequence().await?;
        }
    }
    signed(&folder.store, history.epoch, args.entries).await?;
    Ok(shown)
}

/// Entries between the first start and now, in the order of their times.
struct History {
    ctx: Ctx,
    step: Duration,
    epoch: u64,
    kid: String,
}

impl History {
    async fn begin(engine: &Engine, since: Micros, entries: usize) -> Result<Self> {
        let info = engine.log_info().await?;
        let key: countersign_ledger::VerifierKey = info.vkey.parse()?;
        let step = HISTORY / u32::try_from(entries)?.saturating_add(2);
        let ctx = Ctx::new(since.plus(step), random::bytes(&SystemRandom)?);
        Ok(Self { ctx, step, epoch: info.epoch, kid: key.kid() })
    }

    fn tick(&mut self) {
        self.ctx.now = self.ctx.now.plus(self.step);
    }

    fn row(&self, draft: &EntryDraft) -> Result<EntryRow> {
        let encoded = encode(draft, self.epoch, &self.kid)?;
        let EntryDraft { id, at, request, person, .. } = *draft;
        Ok(EntryRow { id, at, request, person, epoch: self.epoch, encoded })
    }
}

fn token(ctx: &mut Ctx, owner: AccountId, number: usize) -> Result<(Token, String)> {
    let token = OpaqueToken::generate(&SystemRandom, "token")?;
    let row = Token {
        id: TokenId::new(ctx.now, ctx.tail()),
        hash: Digest::from_bytes(token.hash()),
        name: format!("deploy-{number}"),
        owner,
        scopes: vec!["command.*".to_owned()],
        created_at: ctx.now,
        expires_at: ctx.now.plus(LIFE),
        revoked_at: None,
    };
    Ok((row, token.text().expose_secret().to_owned()))
}

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        now()
    }
}

/// The engine itself puts the entries into the tree and signs it.
async fn engine(folder: &Folder) -> Result<Engine> {
    let parts = Parts {
        store: folder.store.clone(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        keys: Keyring::open(&folder.store, &folder.master).await?,
        passwords: PasswordPool::new(Passwords::default(), 1),
        config: EngineConfig::default(),
        sinks: Vec::new(),
    };
    Ok(Engine::start(parts).await?)
}

/// A benchmark of a log that is shorter than it says would be worth nothing.
async fn signed(store: &Store, epoch: u64, entries: usize) -> Result<()> {
    let size = store.load(LatestCheckpoint(epoch)).await?.map_or(0, |row| row.size);
    if size < u64::try_from(entries)? {
        bail!("only {size} of {entries} entries are signed");
    }
    Ok(())
}
