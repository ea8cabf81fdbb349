// What the pages of an experiment share: the plan is read, the participant found in it, jsPsych run, the data sent or
// saved. The Python side is akv/evidence/exports.py and pilot.py, which write the plan; `timeline.json` and `plan.json`
// both have `participants` ({participant: trials}), `texts`, `study` and `save_url`.

// An element with attributes and children. Text only ever gets in as text, never as HTML.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value)
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value)
  }
  element.append(...children)
  return element
}

// Paragraphs of a text, one for each line.
function paragraphs(text) {
  return text.split("\n").filter(line => line.trim()).map(line => make("p", {}, line))
}

function show(...children) {
  document.getElementById("akv-page").replaceChildren(make("div", { class: "akv-card" }, ...children))
}

// The plan, and where data go: the study's own address, else what the server offers, else ''.
async function readPlan(name) {
  const answer = await fetch(name, { cache: "no-store" })
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`)
  const plan = await answer.json()
  return { plan, target: plan.save_url || answer.headers.get("X-Akv-Data") || "" }
}

// Who takes part: as the address says (?participant=P001), else as is typed in. Only who is in the plan comes through.
function askParticipant(plan) {
  const known = name => Object.prototype.hasOwnProperty.call(plan.participants, name)
  const given = (new URLSearchParams(window.location.search).get("participant") ?? "").trim()
  if (known(given)) return Promise.resolve(given)
  return new Promise(resolve => {
    const field = make("input", { id: "akv-participant", autocomplete: "off", autofocus: true, spellcheck: "false" })
    const note = make("p", { class: "akv-note", role: "alert" }, given ? plan.texts.unknown : "")
    field.value = given
    const form = make("form", { class: "akv-ask", submit: event => {
      event.preventDefault()
      const name = field.value.trim()
      if (known(name)) resolve(name)
      else note.textContent = plan.texts.unknown
    } }, make("label", { for: "akv-participant" }, plan.texts.participant), field,
    make("button", { class: "jspsych-btn" }, plan.texts.next), note)
    show(form)
    field.focus()
  })
}

// Sends a text to `address`; whether it arrived.
async function send(address, text, type) {
  try {
    const answer = await fetch(address, { method: "POST", headers: { "Content-Type": type }, body: text })
    return answer.ok
  } catch { return false }
}

// Keeps what has been answered: after every trial where data can be sent, so that a closed window loses little.
function keeper(jsPsych, plan, target, name) {
  const csv = plan.format === "csv", type = csv ? "text/csv" : "application/json"
  const file = `${name}.${csv ? "csv" : "json"}`
  const address = target && (plan.save_url ? target : `${target}/${encodeURIComponent(file)}`)
  const text = () => csv ? jsPsych.data.get().csv() : jsPsych.data.get().json()
  let last = Promise.resolve(true), waiting = false
  const queue = () => {                      // one at a time; what comes while one is under way goes in one next time
    if (!address || plan.save_url || waiting) return last
    waiting = true
    last = last.then(() => { waiting = false; return send(address, text(), type) })
    return last
  }
  const finish = async () => {
    if (!address) return false
    await last
    for (const pause of [0, 1000, 4000]) {
      await new Promise(resolve => setTimeout(resolve, pause))
      if (await send(address, text(), type)) return true
    }
    return false
  }
  return { queue, finish, download: () => jsPsych.data.get().localSave(csv ? "csv" : "json", file) }
}

// Runs a page: `build(jsPsych, plan, trials)` gives jsPsych's timeline for the participant's trials.
async function start(name, build) {
  let plan, target
  try { ({ plan, target } = await readPlan(name)) } catch (error) { show(...paragraphs(String(error))); return }
  const participant = await askParticipant(plan)
  document.getElementById("akv-page").replaceChildren()
  const session = Array.from(window.crypto.getRandomValues(new Uint32Array(2)), n => n.toString(36)).join("")
  const jsPsych = initJsPsych({ display_element: "akv-page", on_trial_finish: () => { kept.queue() } })
  const kept = keeper(jsPsych, plan, target, `${participant.replace(/[^\p{L}\p{N}_.-]/gu, "_")}_${session}`)
  const { width, height } = window.screen
  const began = new Date().toISOString(), screen = `${width}x${height}`
  jsPsych.data.addProperties({ participant, session, study: plan.study, began, screen })
  await jsPsych.run(build(jsPsych, plan, plan.participants[participant]))
  show(make("p", { class: "akv-waiting" }, plan.texts.saving))
  const arrived = await kept.finish()
  const again = make("button", { class: "jspsych-btn", click: kept.download }, plan.texts.download)
  if (!arrived) kept.download()
  const link = plan.finish_url ? [make("a", { class: "jspsych-btn", href: plan.finish_url }, plan.texts.next)] : []
  show(...paragraphs(plan.texts.thanks), ...(arrived ? [] : [...paragraphs(plan.texts.not_sent), again]), ...link)
  document.body.dataset.akv = arrived ? "sent" : "saved"
}

export default { make, paragraphs, start }
