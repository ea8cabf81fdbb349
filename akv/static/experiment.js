// The page of the experiment: instructions, the participant's clips one after the other, questions after each.
// `timeline.json` (akv/evidence/exports.py) holds each participant's clips in order, the questions and the texts.
import AkvClip from "./clip.js"
import session from "./session.js"

const { make, paragraphs } = session

// A question of the study as a part of a form: a scale from low to high, a choice, or a text.
function field(question, texts) {
  const legend = make("legend", {}, question.prompt)
  const radio = (value, label) => make("label", { class: "akv-option" },
    make("input", { type: "radio", name: question.name, value, required: question.required }), make("span", {}, label))
  if (question.kind === "text") {
    return make("fieldset", {}, legend, make("textarea", { name: question.name, rows: 3, required: question.required,
      "aria-label": question.prompt }))
  }
  if (question.kind === "choice") {
    return make("fieldset", { class: "akv-choice" }, legend, ...question.options.map(option => radio(option, option)))
  }
  const points = Array.from({ length: question.points }, (_, i) => radio(String(i + 1), String(i + 1)))
  const ends = make("div", { class: "akv-ends" }, make("span", {}, question.low), make("span", {}, question.high))
  return make("fieldset", {}, legend, make("div", { class: "akv-scale" }, ...points), ends)
}

function build(jsPsych, plan, clips) {
  const { texts, questions } = plan
  const instructions = make("div", { class: "akv-card" }, ...paragraphs(plan.instructions)).outerHTML
  const start = document.fullscreenEnabled
    ? { type: jsPsychFullscreen, fullscreen_mode: true, message: instructions, button_label: texts.start,
      delay_after: 200 }
    : { type: jsPsychHtmlButtonResponse, stimulus: instructions, choices: [texts.start] }
  const load = { type: jsPsychPreload, video: clips.flatMap(clip => clip.stimulus),
    message: make("p", {}, texts.loading).outerHTML, continue_after_error: true, max_load_time: plan.load_s * 1000,
    data: { task: "load" } }
  const form = make("div", { class: "akv-form" }, ...questions.map(question => field(question, texts))).outerHTML
  const shown = clips.flatMap(({ position, stimulus }) => {
    const asked = { type: jsPsychSurveyHtmlForm, html: form, button_label: texts.next,
      data: { task: "questions", position } }
    const played = () => jsPsych.data.get().filter({ task: "clip" }).last(1).values()[0].failed === ""
    const clip = { type: AkvClip, stimulus, timeout: plan.timeout_s, skip_after: plan.skip_after_s, button: plan.button,
      sound: plan.sound, skip: texts.skip, go: texts.go, failure: texts.failure, post_trial_gap: 300,
      data: { task: "clip", position } }
    return questions.length ? [clip, { timeline: [asked], conditional_function: played }] : [clip]
  })
  const end = { type: jsPsychFullscreen, fullscreen_mode: false, delay_after: 0, data: { task: "end" } }
  return [{ ...start, data: { task: "start" } }, load, ...shown, end]
}

export default () => session.start("timeline.json", build)
