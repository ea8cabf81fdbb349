// One clip on the whole screen, as a jsPsych plugin. It plays once, without controls; how long, whether to the end, and
// what went wrong are the trial's data. A clip that does not play is a line in the data, and the session goes on.
import session from "./session.js"

const { make } = session
const Type = jsPsychModule.ParameterType
const CODES = ["", "aborted", "network", "decode", "source not supported"]      // MediaError.code

class AkvClip {
  constructor(jsPsych) { this.jsPsych = jsPsych }

  trial(display, trial) {
    const began = performance.now()
    const state = { started: null, clicked: null, stalls: 0, hidden: 0, left: null, over: false, moved: began, at: 0 }
    const seconds = since => Math.round(performance.now() - since) / 1000
    const video = make("video", { class: "akv-video", playsinline: true, preload: "auto" })
    const buttons = make("div", { class: "akv-buttons" })
    const stage = make("div", { class: "akv-stage" }, video, buttons)
    display.replaceChildren(stage)
    video.controls = false
    video.muted = !trial.sound

    const played = () => {
      let total = 0
      for (let i = 0; i < video.played.length; i++) total += video.played.end(i) - video.played.start(i)
      return Math.round(total * 1000) / 1000
    }
    const finish = (data, failed = "") => {
      if (state.over) return
      state.over = true
      clearInterval(watch)
      document.removeEventListener("visibilitychange", turned)
      turned()
      const { width, height } = video.getBoundingClientRect()
      const scale = video.videoWidth ? Math.min(width / video.videoWidth, height / video.videoHeight) : 0
      const result = {
        stimulus: trial.stimulus, watch_time: played(), failed, completed: false, skipped: false,
        duration: Number.isFinite(video.duration) ? video.duration : null,
        clicked: trial.button ? state.clicked !== null : null, clicked_at: state.clicked,
        start_delay: state.started, stalls: state.stalls, hidden: Math.round(state.hidden) / 1000,
        shown: `${Math.round(scale * video.videoWidth)}x${Math.round(scale * video.videoHeight)}`, ...data,
      }
      video.onerror = null
      video.pause()
      video.removeAttribute("src")
      video.load()
      if (!failed) { this.jsPsych.finishTrial(result); return }
      display.replaceChildren(make("div", { class: "akv-card" }, make("p", {}, trial.failure)))
      setTimeout(() => this.jsPsych.finishTrial(result), 1500)
    }
    const turned = () => {                     // how long the page was out of sight
      if (state.left !== null) {
        state.hidden += performance.now() - state.left
        state.left = null
        state.moved = performance.now()
      }
      if (document.hidden && !state.over) state.left = performance.now()
    }
    document.addEventListener("visibilitychange", turned)
    turned()

    // The sources are tried one after the other: the first that the browser can play is shown.
    let source = -1, kept = null               // kept: the clip as it was loaded before the first one was shown
    const next = fault => {
      source += 1
      if (source >= trial.stimulus.length) { finish({}, fault); return }
      kept = this.jsPsych.pluginAPI.getVideoBuffer(trial.stimulus[source])
      video.src = kept ?? trial.stimulus[source]
      video.play().catch(refused)
    }
    const refused = error => {                 // a browser may want a click before it plays sound
      if (error.name !== "NotAllowedError" || state.over) return
      state.moved = Infinity
      const go = make("button", { class: "jspsych-btn akv-go", click: () => {
        go.remove()
        state.moved = performance.now()
        video.play().catch(fault => finish({}, `not played: ${fault.name}`))
      } }, trial.go)
      stage.append(go)
    }
    video.onerror = () => {
      const { code = 0, message = "" } = video.error ?? {}
      const fault = `${kept ? "" : "not loaded; "}${CODES[code] || "error"}${message ? ` (${message})` : ""}`
      if (state.started === null) next(fault)
      else finish({}, `${fault} at ${video.currentTime.toFixed(2)} s`)
    }
    video.onplaying = () => { state.started ??= seconds(began) }
    video.onwaiting = () => { if (state.started !== null) state.stalls += 1 }
    video.onended = () => {
      if (video.videoWidth) finish({ completed: true })
      else finish({}, "no picture")
    }
    video.oncontextmenu = event => event.preventDefault()

    // A clip that neither starts nor goes on for `timeout` seconds has failed, unless the page is out of sight.
    const watch = setInterval(() => {
      if (video.currentTime !== state.at || document.hidden) {
        state.at = video.currentTime
        state.moved = performance.now()
      }
      if (trial.skip_after !== null && video.currentTime >= trial.skip_after) skip.hidden = false
      if (performance.now() - state.moved < trial.timeout * 1000 || state.moved === Infinity) return
      finish({}, state.started === null ? `timeout: did not start within ${trial.timeout} s`
        : `timeout: stood still at ${video.currentTime.toFixed(2)} s`)
    }, 100)
    const leave = () => finish({ skipped: true })
    const skip = make("button", { class: "jspsych-btn", hidden: true, click: leave }, trial.skip)
    const act = make("button", { class: "jspsych-btn", click: () => {
      state.clicked ??= Math.round(video.currentTime * 1000) / 1000
      act.classList.add("akv-done")
    } }, trial.button)
    if (trial.button) buttons.append(act)
    if (trial.skip_after !== null) buttons.append(skip)
    if (!buttons.children.length) { buttons.remove(); stage.classList.add("akv-still") }
    next("no source")
  }
}

AkvClip.info = {
  name: "akv-clip",
  version: "1.0.0",
  parameters: {
    stimulus: { type: Type.VIDEO, array: true },     // paths; the first that plays
    timeout: { type: Type.FLOAT, default: 10 },      // s without a new picture: failed
    skip_after: { type: Type.FLOAT, default: null }, // s; null: no button to go on
    button: { type: Type.STRING, default: "" },      // under the clip; '': none
    skip: { type: Type.STRING, default: "Skip" },
    go: { type: Type.STRING, default: "Play" },
    failure: { type: Type.STRING, default: "" },     // read where a clip does not play
    sound: { type: Type.BOOL, default: true },
  },
  data: {},
}

export default AkvClip
