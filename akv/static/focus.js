// Puts the focus into the checker's note and back again; the Python side is `HeatmapChecker` in akv/ui/checker.py. It
// has to happen in the browser, before the next letter is typed: a note that begins with "a" must not accept the scene.
// Invisible, inside the checker: n puts the focus into the note, Enter and Escape put it back on the picture.
export default { render({ el }) {
  el.style.display = 'none'
  const taken = event => { event.preventDefault(); event.stopImmediatePropagation() }
  const to_picture = checker => checker.querySelector('.akv-canvas')?.focus({ preventScroll: true })
  const on_key = event => {
    const checker = el.closest('.akv-checker'), target = event.target, note = checker?.querySelector('.akv-note input')
    const writes = target.matches?.('textarea, input:not([type=checkbox])') || target.isContentEditable
    const chord = event.isComposing || event.altKey || event.ctrlKey || event.metaKey
    if (!note || !checker.contains(target) || chord) return
    if (target === note && ['Enter', 'Escape'].includes(event.key)) {
      note.blur()                                        // sends the text
      to_picture(checker)
      taken(event)
    } else if (event.key === 'n' && !writes && !target.matches('select')) {
      note.focus()
      taken(event)
    }
  }
  window.addEventListener('keydown', on_key, true)
  return () => window.removeEventListener('keydown', on_key, true)
} }
