// Videos that play in step. The Python side is `Player` in akv/ui/player.py; the two share the traits that stand there
// (`model.get`, `model.set`, `model.save_changes`). All of this runs in the browser, since only the browser knows which
// frame is on the screen. It needs nothing from the network and no build step.
// In this order: the videos' bytes (`initialize`), one tile for each video (`makeTile`), and `render`: controls, clock,
// what is on screen, keys.

const store = new Map()       // "key/index" -> {parts, got, url, fault}; a key belongs to one set of videos
const listeners = new Set()   // called with such a name when something about that video is new
const NATURAL = ["clearly edited", "rather edited", "cannot say", "rather natural", "natural"]

// An element with attributes and children. Text only ever gets in as text, never as HTML.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && typeof value !== "string") element[name] = value
    else element.setAttribute(name, value)
  }
  element.append(...children)
  return element
}

// Videos come in pieces, as messages with bytes, when they are first shown and once for all views of the widget; put
// together they are a file in the browser's memory. (Jupyter limits how much text a cell may print, but not such
// messages.)
function initialize({ model }) {
  const received = (message, buffers) => {
    if (message.kind !== "part" && message.kind !== "fault") return
    const name = `${message.key}/${message.index}`
    const clip = store.get(name) ?? { parts: [], got: 0 }
    store.set(name, clip)
    if (message.kind === "fault") clip.fault = message.text
    else if (!clip.url) {
      clip.fault = null
      clip.note = message.note
      if (!clip.parts[message.part]) { clip.parts[message.part] = buffers[0]; clip.got += 1 }
      clip.share = clip.got / message.of
      if (clip.got === message.of) {
        clip.url = URL.createObjectURL(new Blob(clip.parts, { type: message.type }))
        clip.parts = []
      }
    }
    listeners.forEach(tell => tell(name))
  }
  model.on("msg:custom", received)
  return () => {
    model.off("msg:custom", received)
    for (const clip of store.values()) if (clip.url) URL.revokeObjectURL(clip.url)
    store.clear()
  }
}

// The number of the frame shown at a time: the last whose stamp is not later.
function frameAt(times, t) {
  let low = 0, high = times.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (times[middle] <= t) low = middle
    else high = middle - 1
  }
  return low
}

// The strip below a video: log alpha over time, as steps, on a scale that all videos share. Where it is not known
// (null) the strip has a gap.
function doseStrip(dose, times, duration, top) {
  const strip = make("div", { class: "akv-player-dose" }), cursor = make("div", { class: "akv-player-cursor" })
  const name = "http://www.w3.org/2000/svg", svg = document.createElementNS(name, "svg")
  svg.setAttribute("viewBox", "0 -1.05 1 2.1")
  svg.setAttribute("preserveAspectRatio", "none")
  for (const sign of [1, -1]) {
    const path = document.createElementNS(name, "path")
    let line = "M0 0", last = 0
    dose.forEach((value, i) => {
      const y = -Math.max(0, sign * value) / top * sign
      if (y !== last) { line += `H${times[i] / duration}V${y}`; last = y }
    })
    path.setAttribute("d", `${line}H1V0Z`)
    path.setAttribute("class", sign > 0 ? "akv-player-more" : "akv-player-less")
    svg.append(path)
  }
  const gap = document.createElementNS(name, "path")
  const from = i => (times[i] ?? duration) / duration
  const hole = i => `M${from(i)} -1.05H${from(i + 1)}V1.05H${from(i)}Z`
  gap.setAttribute("d", dose.map((value, i) => value === null ? hole(i) : "").join("") || "M0 0")
  gap.setAttribute("class", "akv-player-gap")
  svg.append(gap)
  strip.append(svg, cursor)
  return { strip, cursor }
}

// One video with its name, the picture, the strip of the dose and the rating. Browsers that are asked to
// (`requestVideoFrameCallback`) tell the time stamp of each frame they put on the screen. It says which frame is really
// seen, and where a file's own time begins: a file may start with a moment of sound, and all others start at zero.
function makeTile(index, entry, list, act) {
  const video = make("video", { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true,
                                tabIndex: -1, class: "akv-player-video", "aria-label": entry.label })
  const value = make("span", { class: "akv-player-value" }), state = make("div", { class: "akv-player-state" })
  const note = make("span", { class: "akv-player-copy" })
  const name = make("div", { class: "akv-player-label" }, make("b", {}, entry.label), note, value)
  const box = make("div", { class: "akv-player-tile", role: "group", "aria-label": entry.label, tabIndex: 0 },
                   name, make("div", { class: "akv-player-screen" }, video, state))
  Object.assign(box.dataset, { index, label: entry.label })
  const tile = { index, entry, box, video, value, note, state, offset: null, media: null, goal: null, rated: null }
  if (entry.dose) {
    Object.assign(tile, doseStrip(entry.dose, list.times, list.duration, list.top))
    tile.strip.title = "dose: by what the odds of the product's share of attention are multiplied; up: more, down: less"
    tile.strip.onclick = event => {
      const place = tile.strip.getBoundingClientRect()
      act.seek(frameAt(list.times, (event.clientX - place.left) / place.width * list.duration))
    }
    box.append(tile.strip)
  }
  // The browser tells the stamp of every frame that it shows. Of the first one this gives the file's own zero.
  const seen = (now, { mediaTime }) => {
    if (tile.offset === null) tile.offset = mediaTime - list.times[0]
    tile.media = mediaTime
    act.shown(tile)
    tile.watch = video.requestVideoFrameCallback(seen)
  }
  if (video.requestVideoFrameCallback) tile.watch = video.requestVideoFrameCallback(seen)
  else { tile.offset = 0; video.ontimeupdate = () => act.shown(tile) }
  video.onseeked = video.ondurationchange = () => act.seeked(tile)
  video.onloadeddata = () => { state.textContent = ""; act.ready(tile) }
  video.onended = () => act.ended(tile)
  video.onerror = () => { if (video.src) state.textContent = "this browser cannot play this video" }
  video.onclick = () => act.toggle()
  return tile
}

// Five buttons and a line for a note.
function addRating(tile, act) {
  const label = tile.entry.label, said = make("span", { class: "akv-player-said", "aria-live": "polite" })
  const note = make("input", { type: "text", class: "akv-player-note", placeholder: "note",
                               title: "saved with the rating", "aria-label": `Note on ${label}` })
  const buttons = NATURAL.map((meaning, i) => make("button", {
    type: "button", title: `${i + 1}: ${meaning} (key ${i + 1})`,
    "aria-label": `Naturalness of ${label}: ${i + 1}, ${meaning}`, "aria-pressed": "false",
    onclick: () => tile.rate(i + 1) }, `${i + 1}`))
  const waits = "choose 1 to 5: the note is saved with it"
  let saved = ""              // the note in the file: the field may be ahead of it, and must not be wiped
  tile.rate = rating => act.rate(tile, rating, note.value)
  note.onchange = () => {
    if (tile.rated) tile.rate(tile.rated)
    else said.textContent = waits
  }
  tile.showRating = mark => {
    tile.rated = mark?.rating ?? null
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i + 1 === tile.rated)))
    const now = mark?.note ?? saved
    if (now !== saved && document.activeElement !== note) note.value = now
    saved = now
    said.textContent = mark?.said ?? (note.value === saved ? "" : waits)
  }
  tile.box.append(make("div", { class: "akv-player-rating", role: "group", "aria-label": `Naturalness of ${label}` },
                       ...buttons), note, said)
}

function render({ model, el }) {
  const SPEEDS = [0.1, 0.25, 0.5, 1, 1.5, 2]
  let list = { times: [0], duration: 0, videos: [], key: "", top: 1 }, tiles = [], playing = false, timer = null
  let frame = 0, worst = 0, started = 0, wrapping = false

  // ---- controls
  const button = (text, title, onclick) =>
    make("button", { type: "button", title, "aria-label": title.split(" (")[0], onclick }, text)
  const play = button("▶", "Play (key space)", () => toggle())
  play.classList.add("akv-player-play")
  const back = button("◀ frame", "Frame back (key comma)", () => step(-1))
  const on = button("frame ▶", "Frame on (key period)", () => step(1))
  const position = make("input", { type: "range", min: "0", step: "any", class: "akv-player-position",
                                   "aria-label": "Position" })
  const readout = make("span", { class: "akv-player-readout", "aria-live": "off" })
  const speed = make("select", { "aria-label": "Speed", title: "Speed" },
                     ...SPEEDS.map(s => make("option", { value: `${s}` }, `${s} ×`)))
  const sound = make("select", { "aria-label": "Sound", title: "Whose sound is heard; none (key m)" })
  const loop = make("input", { type: "checkbox", "aria-label": "Loop" })
  const doses = make("input", { type: "checkbox", "aria-label": "Dose" })
  const doseBox = make("label", { title: "Show the dose below each video" }, doses, " dose")
  const drift = make("span", { class: "akv-player-drift", title: "how far apart the videos are that play" })
  const chips = make("span", { class: "akv-player-bar", role: "group", "aria-label": "Videos shown" })
  const legend = make("div", { class: "akv-player-said akv-player-legend", hidden: !model.get("rating") },
                      "How natural does it look? 1: clearly edited, 5: natural. Saved when clicked.")
  const grid = make("div", { class: "akv-player-grid" })
  const bar = make("div", { class: "akv-player-bar" }, play, back, on, readout, speed, sound,
                   make("label", { title: "Start again at the end (key l)" }, loop, " loop"))
  // the attribute tells JupyterLab to leave keys pressed in here alone
  const root = make("div", { class: "akv-player", tabIndex: 0, role: "group", "aria-label": "Videos in step",
                             "data-lm-suppress-shortcuts": "true" },
                    make("div", { class: "akv-player-top" }, chips, drift), bar, position, legend, grid)
  root.style.setProperty("--akv-player-height", `${model.get("height")}px`)
  el.append(root)
  const put = (name, value) => { model.set(name, value); model.save_changes() }

  // ---- the clock
  // A frame is found by the source's time stamps, never by counting at a constant rate, and looked for in its middle,
  // where no rounding can reach its neighbour.
  const ready = () => tiles.filter(t => t.video.readyState >= 2 && !t.video.error)
  const end = tile => list.times.length < 2 ? 0 : tile.video.duration - (tile.offset ?? 0)
  const at = tile => tile.video.currentTime - (tile.offset ?? 0)
  const leader = () => {      // the one that is heard, else the longest: the others follow it
    const there = ready(), heard = there.find(t => t.index === model.get("sound") && !t.video.ended)
    return heard ?? there.reduce((best, t) => !best || end(t) > end(best) + 0.02 ? t : best, null)
  }
  const middle = k => (list.times[k] + (list.times[k + 1] ?? list.duration)) / 2

  function show(t) {          // everything that moves with the time
    frame = frameAt(list.times, t + 1e-4)
    const share = `${100 * Math.min(1, Math.max(0, t) / (list.duration || 1))}%`
    position.value = t
    readout.textContent = `frame ${frame + 1} of ${list.times.length}, ${list.times[frame].toFixed(2)} s`
    position.setAttribute("aria-valuetext", readout.textContent)
    for (const tile of tiles) if (tile.entry.dose) {
      tile.cursor.style.left = share
      const now = tile.entry.dose[Math.min(frame, tile.entry.dose.length - 1)]
      const known = now === null ? "×?" : `×${Math.exp(now).toFixed(2)}`
      tile.value.textContent = doses.checked ? known : ""
    }
  }
  function place(tile) {      // to the middle of the wanted frame, where rounding cannot reach its neighbours
    if (tile.goal === null || tile.video.readyState < 1 || tile.video.seeking) return
    const wanted = Math.min(middle(tile.goal) + (tile.offset ?? 0), tile.video.duration)
    if (Math.abs(tile.video.currentTime - wanted) > 1e-4) tile.video.currentTime = wanted
  }
  function insist(tile, times) {   // a busy browser may leave the old picture: move within the frame
    const { video } = tile, wanted = tile.goal
    if (playing || wanted === null || video.seeking || Number(tile.box.dataset.frame) === wanted || !times) return
    video.currentTime += times % 2 ? 0.0005 : -0.0005
    tile.check = setTimeout(() => insist(tile, times - 1), 400)
  }
  function seek(k) {
    k = Math.max(0, Math.min(list.times.length - 1, Math.round(k)))
    const again = playing
    if (playing) halt()
    show(list.times[k])
    for (const tile of tiles) { tile.goal = k; place(tile) }
    put("frame", k)
    if (again) start()
  }
  function step(by) { if (playing) pause(); seek(frame + by) }

  // ---- playing
  // A browser plays each video by a clock of its own, and they drift apart. So one of them leads (the one that is
  // heard, else the longest), and ten times a second each of the others is slowed down or sped up by as much as brings
  // it back within half a second. Sound stays untouched. At the end of playing all stop at the leader's frame.
  async function settled() {  // until every video has the frame that it was sent to
    const until = performance.now() + 3000
    const busy = ({ video }) => video.src && !video.error && (video.seeking || video.readyState < 3)
    while (performance.now() < until && tiles.some(busy)) await new Promise(done => setTimeout(done, 10))
  }
  async function start() {
    playing = true
    controls()
    await settled()
    if (!playing) return
    for (const tile of ready()) { tile.goal = null; tile.video.playbackRate = model.get("speed"); hear(tile) }
    await Promise.allSettled(ready().map(t => t.video.play()))
    started = performance.now()
    worst = 0
    if (playing) tick()
  }
  function halt() {
    playing = false
    cancelAnimationFrame(timer)
    for (const tile of tiles) { tile.video.pause(); tile.video.playbackRate = model.get("speed") }
    controls()
  }
  function pause() {          // all to the leader's frame
    const first = leader()
    halt()
    put("playing", false)
    put("drift", worst)
    const last = !first || first.video.ended
    seek(last ? list.times.length - 1 : frameAt(list.times, (first.media ?? 0) - (first.offset ?? 0) + 1e-4))
  }
  function toggle() {
    if (playing) return pause()
    if (frame >= list.times.length - 1) seek(0)
    put("playing", true)
    start()
  }
  let corrected = 0
  function tick() {           // sixty times a second: the cursors; ten times: who is off is slowed down or sped up
    timer = requestAnimationFrame(tick)
    const first = leader(), now = performance.now()
    if (!first) return
    show(at(first))
    if (now - corrected < 100) return
    corrected = now
    const base = model.get("speed")
    let apart = 0
    for (const tile of ready()) {
      if (tile === first || tile.video.ended || tile.video.seeking) continue
      const off = at(tile) - at(first)
      apart = Math.max(apart, Math.abs(off))
      if (Math.abs(off) > 0.3) tile.video.currentTime = at(first) + (tile.offset ?? 0)
      else {
        const wanted = Math.abs(off) < 0.0015 ? base : base - 4 * off
        const rate = Math.max(0.0625, 0.5 * base, Math.min(1.5 * base, wanted))   // browsers refuse less than 1/16
        if (Math.abs(tile.video.playbackRate - rate) > 0.002 * base) tile.video.playbackRate = rate
      }
    }
    if (now - started > 500) worst = Math.max(worst, 1000 * apart)
    drift.textContent = ready().length > 1 ? `in step within ${Math.ceil(1000 * apart)} ms` : ""
  }
  async function ended(tile) {
    if (!playing || wrapping || ready().some(t => !t.video.ended)) return
    if (!model.get("loop")) return pause()
    wrapping = true
    for (const t of tiles) t.video.currentTime = (t.offset ?? 0) + list.times[0]
    await settled()
    wrapping = false
    started = performance.now()
    if (playing) await Promise.allSettled(ready().map(t => t.video.play()))
  }
  function hear(tile) { tile.video.muted = tile.index !== model.get("sound") }

  const act = {
    seek, toggle, ended,
    shown(tile) {
      const t = tile.media === null ? at(tile) : tile.media - tile.offset
      tile.box.dataset.frame = frameAt(list.times, t + 1e-3)
    },
    seeked(tile) {
      if (playing) return
      place(tile)
      clearTimeout(tile.check)
      tile.check = setTimeout(() => insist(tile, 3), 400)
    },
    ready(tile) { hear(tile); if (!playing) { tile.goal = frame; place(tile) } },
    rate(tile, rating, note) { model.send({ kind: "rate", key: list.key, index: tile.index, rating, note }) },
  }

  // ---- what is on screen follows the values that Python shares
  function controls() {
    play.textContent = playing ? "❚❚" : "▶"
    play.title = playing ? "Pause (key space)" : "Play (key space)"
    play.setAttribute("aria-label", playing ? "Pause" : "Play")
    root.dataset.playing = playing
  }
  function fetchClip(name) {
    const tile = tiles.find(t => name === `${list.key}/${t.index}`), clip = store.get(name)
    if (!tile || !clip) return
    if (clip.fault) tile.state.textContent = clip.fault
    else if (!clip.url) tile.state.textContent = `loading ${Math.round(100 * (clip.share ?? 0))} %`
    else if (!tile.video.src) {
      tile.note.textContent = clip.note
      tile.video.src = clip.url
    }
  }
  function drop(tile) {
    tile.video.pause()
    if (tile.watch) tile.video.cancelVideoFrameCallback(tile.watch)
    tile.video.removeAttribute("src")
    tile.video.load()
    tile.box.remove()
  }
  function showTiles() {
    const shown = model.get("shown").filter(i => i < list.videos.length), again = playing
    if (again) halt()
    tiles.filter(t => !shown.includes(t.index)).forEach(drop)
    tiles = shown.map(i => tiles.find(t => t.index === i) ?? makeTile(i, list.videos[i], list, act))
    for (const tile of tiles) {
      if (!tile.showRating && model.get("rating")) addRating(tile, act)
      grid.append(tile.box)
      const name = `${list.key}/${tile.index}`
      if (!store.has(name)) {
        tile.state.textContent = "loading"
        model.send({ kind: "want", key: list.key, index: tile.index })
      }
      fetchClip(name)
    }
    ;[...chips.children].forEach((chip, i) => chip.setAttribute("aria-pressed", String(shown.includes(i))))
    showRatings()
    showDoses()
    if (again) start()
  }
  function showList() {
    if (playing) halt()
    tiles.forEach(drop)
    tiles = []
    list = model.get("playlist")
    list.top = list.videos.flatMap(v => v.dose ?? []).reduce((top, value) => Math.max(top, Math.abs(value)), 0.1)
    position.max = list.duration
    chips.replaceChildren(...list.videos.map((entry, i) => make("button", {
      type: "button", title: `Show or hide ${entry.label}`, "aria-label": `Show ${entry.label}`,
      onclick: () => choose(i) }, entry.label)))
    sound.replaceChildren(make("option", { value: "-1" }, "no sound"),
                          ...list.videos.map((entry, i) => make("option", { value: `${i}` }, entry.label)))
    if (list.videos.some(v => v.dose)) bar.append(doseBox)
    else doseBox.remove()
    drift.textContent = ""
    showSettings()
    showTiles()
    show(list.times[Math.min(model.get("frame"), list.times.length - 1)])
  }
  function choose(i) {
    const shown = model.get("shown")
    put("shown", shown.includes(i) ? shown.filter(j => j !== i) : [...shown, i].sort((a, b) => a - b))
  }
  function showSettings() {
    speed.value = `${model.get("speed")}`
    sound.value = `${model.get("sound")}`
    loop.checked = model.get("loop")
    doses.checked = model.get("show_dose")
    tiles.forEach(hear)
    showDoses()
  }
  function showDoses() {
    for (const tile of tiles) if (tile.entry.dose) tile.strip.hidden = !doses.checked
    show(list.times[frame] ?? 0)
  }
  function showRatings() { for (const tile of tiles) tile.showRating?.(model.get("marks")[tile.index]) }

  position.oninput = () => seek(frameAt(list.times, Number(position.value)))
  const showSpeed = () => {
    for (const tile of tiles) tile.video.playbackRate = model.get("speed")
    started = performance.now()
    worst = 0
    showSettings()
  }
  speed.onchange = () => put("speed", Number(speed.value))
  sound.onchange = () => put("sound", Number(sound.value))
  loop.onchange = () => put("loop", loop.checked)
  doses.onchange = () => put("show_dose", doses.checked)

  // ---- keys do what the buttons do
  let unmuted = 0
  const KEYS = {
    " ": toggle, ",": () => step(-1), ".": () => step(1), ArrowLeft: () => step(-1), ArrowRight: () => step(1),
    Home: () => seek(0), End: () => seek(list.times.length - 1), l: () => put("loop", !model.get("loop")),
    m: () => { const now = model.get("sound"); if (now >= 0) unmuted = now; put("sound", now >= 0 ? -1 : unmuted) },
  }
  root.onkeydown = event => {
    const from = event.target
    event.stopPropagation()
    if (event.ctrlKey || event.metaKey || event.altKey) return
    if (from.tagName === "SELECT" || (from.tagName === "INPUT" && from.type === "text")) return
    const tile = tiles.find(t => t.box.contains(from))
    if (tile?.rate && /^[1-5]$/.test(event.key)) tile.rate(Number(event.key))
    else if (event.key === " " && from.tagName === "BUTTON") return
    else if (event.key === " " && from.type === "checkbox") return
    else if (KEYS[event.key]) KEYS[event.key]()
    else return
    event.preventDefault()
  }

  const heard = {
    "change:playlist": showList, "change:shown": showTiles, "change:marks": showRatings, "change:speed": showSpeed,
    "change:sound": showSettings, "change:loop": showSettings, "change:show_dose": showSettings,
    "change:frame": () => { if (!playing && model.get("frame") !== frame) seek(model.get("frame")) },
    "change:playing": () => { if (model.get("playing") !== playing) { if (playing) pause(); else start() } },
  }
  for (const [name, react] of Object.entries(heard)) model.on(name, react)
  listeners.add(fetchClip)
  controls()
  showList()
  return () => {
    for (const [name, react] of Object.entries(heard)) model.off(name, react)
    listeners.delete(fetchClip)
    halt()
    tiles.forEach(drop)
  }
}
export default { initialize, render }
