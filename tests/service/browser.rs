//! A browser that a test drives: Chromium by the protocol of web drivers, in a dozen requests of JSON.

use serde_json::{Value as Json, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub const TAB: char = '\u{e004}';
pub const ENTER: char = '\u{e007}';
pub const SPACE: char = '\u{e00d}';
pub const SHIFT: char = '\u{e008}';

/// Looks again and again until there is something to be had; a page that never comes to it has failed.
#[track_caller]
pub fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "it never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the protocol calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Browser {
    driver: Child,
    at: SocketAddr,
    session: String,
    /// Where the service is.
    pub home: String,
}

impl Browser {
    /// Starts one, for the service at this address.
    pub fn start(service: SocketAddr) -> Self {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is there: tests/run installs it");
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let mut port = lines.map_while(Result::ok).filter_map(|line| {
            line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse::<u16>().ok()
        });
        let at = SocketAddr::from(([127, 0, 0, 1], port.next().expect("chromedriver says its port")));
        // The rest is of no interest, and must not stop it.
        std::thread::spawn(move || port.count());
        let mut browser = Self { driver, at, session: String::new(), home: format!("http://{service}") };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--lang=en",
            "--hide-scrollbars",
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" }
        } } });
        let begun = browser.ask("POST", "/session", &wanted);
        begun["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        browser.size(1280, 900, false);
        browser
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Json) -> Json {
        self.try_ask(method, path, body).unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    fn try_ask(&self, method: &str, path: &str, body: &Json) -> Result<Json, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(self.at).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\n\r\n", self.at);
        stream.write_all(format!("{head}{body}").as_bytes()).map_err(|error| error.to_string())?;
        // The driver does not close connections: what it says has a length.
        let mut reader = BufReader::new(stream);
        let (mut status, mut length) = (String::new(), 0);
        reader.read_line(&mut status).map_err(|error| error.to_string())?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).map_err(|error| error.to_string())?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        let answer: Json = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let value = answer["value"].clone();
        if status.contains(" 200 ") { Ok(value) } else { Err(format!("{}: {}", value["error"], value["message"])) }
    }

    #[track_caller]
    fn of_session(&self, path: &str, body: &Json) -> Json {
        self.ask("POST", &format!("/session/{}{path}", self.session), body)
    }

    /// What the protocol of its tools can do, and that of web drivers cannot.
    #[track_caller]
    pub fn tools(&self, command: &str, parameters: &Json) -> Json {
        self.of_session("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// The window's size; as on a phone, if that is said.
    #[track_caller]
    pub fn size(&self, width: u32, height: u32, is_phone: bool) {
        let scale = if is_phone { 2 } else { 1 };
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone });
        self.tools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    pub fn dark(&self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.tools("Emulation.setEmulatedMedia", &media);
    }

    #[track_caller]
    pub fn open(&self, path: &str) {
        self.of_session("/url", &json!({ "url": format!("{}{path}", self.home) }));
    }

    /// The page's path and what follows it.
    #[track_caller]
    pub fn place(&self) -> String {
        self.run("return location.pathname + location.search").as_str().unwrap().to_owned()
    }

    /// What a script gives.
    #[track_caller]
    pub fn run(&self, script: &str) -> Json {
        self.of_session("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The words that are seen.
    #[track_caller]
    pub fn words(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap().to_owned()
    }

    /// Waits until these words are seen; gives all that are.
    #[track_caller]
    pub fn see(&self, words: &str) -> String {
        let mut last = String::new();
        let end = Instant::now() + Duration::from_mins(1);
        while !last.contains(words) {
            assert!(Instant::now() < end, "`{words}` never came to {}:\n{last}", self.place());
            std::thread::sleep(Duration::from_millis(50));
            last = self.words();
        }
        last
    }

    /// Waits until there is an element that can be clicked, and clicks it.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        // What is live may be replaced between finding and clicking.
        until(|| {
            let found = self.find(selector)?;
            self.try_ask("POST", &format!("/session/{}/element/{found}/click", self.session), &json!({})).ok()
        });
    }

    /// Clicks the link or button with these words.
    #[track_caller]
    pub fn press(&self, words: &str) {
        let script = format!(
            "const all = [...document.querySelectorAll('a, button, summary')];
             const found = all.find(one => one.textContent.trim() === {0}) ?? all.find(one => one.textContent.includes({0}));
             document.querySelectorAll('[data-test]').forEach(one => one.removeAttribute('data-test'));
             if (found) found.setAttribute('data-test', ''); return !!found;",
            json!(words)
        );
        until(|| {
            self.run(&script).as_bool().filter(|found| *found)?;
            let found = self.find("[data-test]")?;
            self.try_ask("POST", &format!("/session/{}/element/{found}/click", self.session), &json!({})).ok()
        });
    }

    fn find(&self, selector: &str) -> Option<String> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.try_ask("POST", &format!("/session/{}/element", self.session), &wanted).ok()?;
        found[ELEMENT].as_str().map(str::to_owned)
    }

    /// Fills in a field.
    #[track_caller]
    pub fn fill(&self, selector: &str, text: &str) {
        let found = self.find(selector).unwrap_or_else(|| panic!("no {selector}"));
        let element = format!("/element/{found}");
        self.of_session(&format!("{element}/clear"), &json!({}));
        self.of_session(&format!("{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys one after the other, wherever the focus is.
    #[track_caller]
    pub fn keys(&self, keys: &[char]) {
        let actions: Vec<Json> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() })))
            .collect();
        self.of_session("/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }));
    }

    /// The words and the id of what has the focus.
    #[track_caller]
    pub fn focus(&self) -> (String, String) {
        let found = self.run("const at = document.activeElement; return [at.textContent.trim() || at.getAttribute('aria-label') || at.id, at.id]");
        (found[0].as_str().unwrap().to_owned(), found[1].as_str().unwrap().to_owned())
    }

    /// Presses Tab until what has the focus has these words.
    #[track_caller]
    pub fn tab_to(&self, words: &str) {
        let mut passed = Vec::new();
        while passed.len() < 60 {
            self.keys(&[TAB]);
            let (focused, id) = self.focus();
            if focused == words || id == words {
                let ring = self.run("const at = document.activeElement; return at.matches(':focus-visible') && getComputedStyle(at).outlineStyle");
                assert_ne!(ring, "none", "nobody sees that {words} has the focus");
                return;
            }
            passed.push(focused);
        }
        panic!("Tab does not come to {words}: {passed:?}");
    }

    /// A picture of the whole page, if pictures are wanted: `REKEEP_SCREENSHOTS` says where to.
    #[track_caller]
    pub fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("REKEEP_SCREENSHOTS").map(PathBuf::from) else { return };
        let height = self.run("return Math.ceil(document.documentElement.scrollHeight)");
        let (width, height) = (self.run("return innerWidth"), height.as_f64().unwrap().min(1400.0));
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let taken = self
            .tools("Page.captureScreenshot", &json!({ "format": "png", "clip": clip, "captureBeyondViewport": true }));
        let bytes = data_encoding::BASE64.decode(taken["data"].as_str().unwrap().as_bytes()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// What is wrong with the page for those who do not see it, or see it on a small screen.
    #[track_caller]
    pub fn check(&self) {
        let wrong = self.run(
            r"
            const wrong = [];
            const say = (words, one) => wrong.push(words + (one ? ': ' + one.outerHTML.slice(0, 120) : ''));
            if (document.querySelectorAll('h1').length !== 1) say('not one h1');
            if (document.querySelectorAll('main').length !== 1) say('not one main');
            if (!document.documentElement.lang) say('no language');
            if (!document.title) say('no title');
            for (const one of document.querySelectorAll('img:not([alt])')) say('no alt', one);
            for (const one of document.querySelectorAll('svg:not([aria-hidden]):not([aria-label])')) say('no words', one);
            for (const one of document.querySelectorAll('th:not([scope])')) say('no scope', one);
            for (const one of document.querySelectorAll('table:not(:has(caption))')) say('no caption', one);
            for (const one of document.querySelectorAll('nav:not([aria-label])')) say('no name', one);
            for (const one of document.querySelectorAll('input:not([type=hidden]), select, textarea'))
                if (!one.labels.length) say('no label', one);
            for (const one of document.querySelectorAll('a, button'))
                if (!one.textContent.trim() && !one.getAttribute('aria-label')) say('no words', one);
            const ids = [...document.querySelectorAll('[id]')].map(one => one.id);
            for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) say('twice the id ' + id);
            for (const one of document.querySelectorAll('[aria-describedby], [aria-labelledby]'))
                for (const id of (one.getAttribute('aria-describedby') ?? one.getAttribute('aria-labelledby')).split(' '))
                    if (!document.getElementById(id)) say('nothing of the id ' + id, one);
            if (document.documentElement.scrollWidth > innerWidth) {
                say('wider than the window by ' + (document.documentElement.scrollWidth - innerWidth));
                for (const one of document.querySelectorAll('main *'))
                    if (one.getBoundingClientRect().right > innerWidth + 1) { say('too wide', one); break; }
            }
            const light = colour => {
                const [r, g, b] = colour.match(/[\d.]+/g).map(Number).map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ground = one => {
                for (let at = one; at; at = at.parentElement) {
                    const colour = getComputedStyle(at).backgroundColor;
                    if (/^rgb\(/.test(colour)) return colour;
                }
                return 'rgb(255, 255, 255)';
            };
            for (const one of document.querySelectorAll('main *')) {
                const own = [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
                if (!own || !one.getClientRects().length || one.closest('.hidden, svg, datalist, select')) continue;
                const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => b - a);
                const contrast = (a + 0.05) / (b + 0.05);
                if (contrast < 4.5) say('contrast ' + contrast.toFixed(1), one);
            }
            return wrong;",
        );
        assert_eq!(wrong, json!([]), "{}", self.place());
    }

    /// What the page said to nobody, and whom it asked: no error, and nobody but the service.
    #[track_caller]
    pub fn blameless(&self) {
        let logged = self.of_session("/se/log", &json!({ "type": "browser" }));
        let errors: Vec<&Json> = logged.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE").collect();
        assert!(errors.is_empty(), "{errors:?}");
        let events = self.of_session("/se/log", &json!({ "type": "performance" }));
        let messages = events.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap());
        let messages: Vec<Json> = messages.map(|text| serde_json::from_str(text).unwrap()).collect();
        let asked = messages.iter().filter(|one| one["message"]["method"] == "Network.requestWillBeSent");
        let asked: Vec<&str> = asked.filter_map(|one| one["message"]["params"]["request"]["url"].as_str()).collect();
        assert!(!asked.is_empty(), "requests are told");
        let elsewhere = asked.iter().find(|url| !url.starts_with(&self.home) && !url.starts_with("data:"));
        assert_eq!(elsewhere, None);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends its browser along with the session.
        let _ = self.try_ask("DELETE", &format!("/session/{}", self.session), &Json::Null);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
