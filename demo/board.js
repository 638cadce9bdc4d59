// The events of the cards: each button names its event and the page or future that it acts on.
const EVENTS = ['paint', 'remove', 'choose'];

element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-event]');
  if (button && EVENTS.includes(button.dataset.event)) {
    trigger(button.dataset.event, { index: Number(button.dataset.index) });
  }
});

// Enter ends a caption, and paints a painted frame again.
element.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || !event.target.classList.contains('caption')) return;
  event.preventDefault();
  event.target.blur();
  event.target.closest('.card').querySelector('button[data-event=paint]')?.click();
});

watch('value', () => {
  const news = element.querySelector('.waiting, .future');
  news?.scrollIntoView({ block: news.matches('.future') ? 'start' : 'nearest', behavior: 'smooth' });
});
