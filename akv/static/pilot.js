// The page of a pilot: blurred scenes to look at with the mouse, and scenes to be called edited or untouched.
// `plan.json` (akv/evidence/pilot.py) holds each participant's scenes in order, and the words.
import AkvBubbles from "./bubbles.js"
import session from "./session.js"

const { make, paragraphs } = session

function build(jsPsych, plan, scenes) {
  const { texts } = plan
  const card = text => make("div", { class: "akv-card" }, ...paragraphs(text)).outerHTML
  const page = (text, label) => ({
    type: jsPsychHtmlButtonResponse, stimulus: card(text), choices: [label], data: { task: "read" },
  })
  const start = document.fullscreenEnabled
    ? { type: jsPsychFullscreen, fullscreen_mode: true, message: card(plan.instructions), button_label: texts.start,
      delay_after: 200, data: { task: "start" } }
    : page(plan.instructions, texts.start)
  const load = {
    type: jsPsychPreload, images: scenes.flatMap(({ stimulus, blurred }) => blurred ? [stimulus, blurred] : [stimulus]),
    message: make("p", {}, texts.loading).outerHTML, continue_after_error: true, max_load_time: plan.load_s * 1000,
    data: { task: "load" },
  }
  const cross = {
    type: jsPsychHtmlButtonResponse, stimulus: make("div", { class: "akv-cross" }, "+").outerHTML, choices: [],
    trial_duration: 700, data: { task: "cross" },
  }

  const looking = ({ stimulus, blurred, position, scene }) => [cross, {
    type: AkvBubbles, stimulus, blurred, radius: plan.radius, seconds: plan.look_s, mode: plan.mode,
    data: { task: "bubbles", position, scene },
  }]

  // A scene that did not load is a line in the data, too, and is not asked about.
  const absent = stimulus => jsPsych.data.get().filter({ task: "load" }).values()[0].failed_images.includes(stimulus)
  const judging = ({ stimulus, position, scene }) => {
    const data = { task: "edited", position, scene, picture: stimulus }
    const asked = {
      type: jsPsychHtmlButtonResponse, data: { ...data, failed: "" },
      stimulus: make("img", { class: "akv-picture", src: stimulus, alt: "" }).outerHTML,
      stimulus_duration: plan.judge_s === null ? null : plan.judge_s * 1000,
      prompt: make("p", { class: "akv-asked" }, plan.question).outerHTML,
      choices: plan.answers.map(answer => make("span", {}, answer).outerHTML),
    }
    const lost = {
      type: jsPsychHtmlButtonResponse, data: { ...data, failed: "the picture did not load" }, stimulus: card(plan.lost),
      choices: [], trial_duration: 1500,
    }
    return [cross, { timeline: [asked], conditional_function: () => !absent(stimulus) },
      { timeline: [lost], conditional_function: () => absent(stimulus) }]
  }

  const shown = ["edited", "bubbles"].flatMap(task => {
    const part = scenes.filter(scene => scene.task === task)
    const text = task === "edited" ? plan.judge_instructions : plan.look_instructions
    return part.length ? [page(text, texts.next), ...part.flatMap(task === "edited" ? judging : looking)] : []
  })
  const end = { type: jsPsychFullscreen, fullscreen_mode: false, delay_after: 0, data: { task: "end" } }
  return [start, load, ...shown, end]
}

export default () => session.start("plan.json", build)
